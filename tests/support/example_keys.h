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
// Signs models.
inline constexpr char kExampleSigningKey[] =
    "-----BEGIN PRIVATE KEY-----\n"
    "MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQgx31JZ+b+gFotal32\n"
    "X5joDTpRE6LhJ/e1tN0JnvPbQrGhRANCAAREixoTaigd7YORDBi/4YJIyePBu5DY\n"
    "yNusy1mGwEFG05JfWEoGkKCA1abQa93Ysc9ggBVtRamriMo5qTIqAlJW\n"
    "-----END PRIVATE KEY-----\n";
inline constexpr char kExampleSigningPublicKey[] =
    "-----BEGIN PUBLIC KEY-----\n"
    "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAERIsaE2ooHe2DkQwYv+GCSMnjwbuQ\n"
    "2MjbrMtZhsBBRtOSX1hKBpCggNWm0Gvd2LHPYIAVbUWpq4jKOakyKgJSVg==\n"
    "-----END PUBLIC KEY-----\n";

}  // namespace inferd
