#include <ostream>

#include "client/commands.h"

namespace inferd {
namespace {

std::string Join(const std::vector<std::string>& words) {
  std::string joined;
  for (const std::string& word : words) {
    joined += (joined.empty() ? "" : " ") + word;
  }
  return joined;
}

// zsh runs the same function through bashcompinit.
void PrintBash(std::ostream& out) {
  out << "_inferctl() {\n"
         "  local path=\"\" word\n"
         "  for word in \"${COMP_WORDS[@]:1:COMP_CWORD-1}\"; do\n"
         "    [[ $word == -* ]] || path=\"${path:+$path }$word\"\n"
         "  done\n"
         "  local words=\"\"\n"
         "  case \"$path\" in\n";
  const auto commands = CommandWords();
  for (auto command = commands.rbegin(); command != commands.rend(); ++command) {
    const std::string pattern = command->first.empty() ? "\"\"" : "\"" + command->first + "\"*";
    out << "    " << pattern << ") words=\"" << Join(command->second) << "\" ;;\n";
  }
  out << "  esac\n"
         "  COMPREPLY=($(compgen -W \"$words\" -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "  [[ ${COMPREPLY[0]-} ]] || COMPREPLY=($(compgen -f -- \"${COMP_WORDS[COMP_CWORD]}\"))\n"
         "}\n"
         "complete -F _inferctl inferctl\n";
}

void PrintFish(std::ostream& out) {
  for (const auto& [path, words] : CommandWords()) {
    const std::string condition =
        path.empty() ? "__fish_use_subcommand"
                     : "__fish_seen_subcommand_from " + path.substr(path.rfind(' ') + 1);
    for (const std::string& word : words) {
      out << "complete -c inferctl -n '" << condition << "' "
          << (word.starts_with("--") ? "-l " + word.substr(2) : "-a " + word) << '\n';
    }
  }
}

}  // namespace

ExitCode RunCompletion(const CompletionCommand& command, Terminal& terminal) {
  if (command.shell == "fish") {
    PrintFish(terminal.out);
    return ExitCode::kOk;
  }
  if (command.shell == "zsh") {
    terminal.out << "autoload -Uz bashcompinit && bashcompinit\n";
  }
  PrintBash(terminal.out);
  return ExitCode::kOk;
}

}  // namespace inferd
