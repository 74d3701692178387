// Keys of tests whose bytes must not change from run to run. They protect nothing.
#pragma once

namespace inferd {

inline constexpr char kExampleLogName[] = "example.com/inferd-audit/n1";
inline constexpr char kExampleLogKey[] =
    "PRIVATE+KEY+example.com/inferd-audit/n1+7788b1cb+AYNv8YTntBseE8tf2J+h3pjburmenSkYkT/0O4alx8IT";
inline constexpr char kExampleExporterKey[] =
    "PRIVATE+KEY+auditor.example.com+402c8988+ASmyINSc1qHtg5YXL0b85CEcoPoNmSbe5nEKKJtr16CO";
inline constexpr char kExampleWitnessKey[] =
    "PRIVATE+KEY+witness.example.com/w1+409495ad+BLocVmpLrSiMIqC3URRYySylgizUFjLlGAbp6nXtEtE9";

}  // namespace inferd
