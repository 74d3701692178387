// inferd: reads the command line and the config, then serves (lifecycle.h).
#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "base/log.h"
#include "daemon/config.h"
#include "daemon/lifecycle.h"

namespace {

constexpr char kVersion[] = "inferd 0.1.0";

struct CommandLine {
  std::string config_path = "/etc/inferd/inferd.yaml";
  std::vector<std::string> overrides;
  std::string cpu_isa;
  bool check_config = false;
  bool print_config = false;
  bool print_schema = false;
  bool rebuild_index = false;
};

void Declare(CLI::App& app, CommandLine& line) {
  app.add_option("--config", line.config_path, "The configuration file")->capture_default_str();
  app.add_option("--set", line.overrides, "Override a key: --set listeners.data.address=[::1]:0")
      ->type_name("KEY=VALUE")
      ->allow_extra_args(false);
  app.add_option("--cpu-isa", line.cpu_isa, "Short for --set device.cpu_isa=ISA");
  app.add_flag("--check-config",
               line.check_config,
               "Check the configuration, tenant files and certificates, and exit");
  app.add_flag("--print-config", line.print_config, "Print the effective configuration and exit");
  app.add_flag(
      "--print-schema", line.print_schema, "Print the configuration's JSON Schema and exit");
  app.add_flag("--rebuild-index",
               line.rebuild_index,
               "Make the audit log's search index anew and exit; inferd must not be running");
  app.set_version_flag("--version", kVersion);
}

inferd::LogLevel ToLogLevel(const std::string& name) {
  if (name == "debug") {
    return inferd::LogLevel::kDebug;
  }
  if (name == "warning") {
    return inferd::LogLevel::kWarning;
  }
  return name == "error" ? inferd::LogLevel::kError : inferd::LogLevel::kInfo;
}

int Run(const CommandLine& line) {
  if (line.print_schema) {
    std::fputs(inferd::PrintConfigSchema().c_str(), stdout);
    return inferd::kExitOk;
  }
  std::vector<std::string> overrides = line.overrides;
  if (!line.cpu_isa.empty()) {
    overrides.push_back("device.cpu_isa=" + line.cpu_isa);
  }
  const inferd::ConfigResult result = inferd::LoadConfigFile(line.config_path, overrides);
  for (const std::string& error : result.errors) {
    std::fprintf(stderr, "%s\n", error.c_str());
  }
  if (!result.config.has_value()) {
    return inferd::kExitConfig;
  }
  if (line.print_config) {
    std::fputs(inferd::PrintConfig(result).c_str(), stdout);
    return inferd::kExitOk;
  }
  if (line.check_config) {
    const int code = inferd::RunCheckConfig(*result.config);
    if (code == inferd::kExitOk) {
      std::printf("%s: ok\n", line.config_path.c_str());
    }
    return code;
  }
  inferd::SetLogLevel(ToLogLevel(result.config->log_level));
  return line.rebuild_index ? inferd::RunRebuildIndex(*result.config)
                            : inferd::RunDaemon(*result.config);
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app("inferd serves language models over gRPC.");
  CommandLine line;
  Declare(app, line);
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? inferd::kExitOk : inferd::kExitUsage;
  }
  return Run(line);
}
