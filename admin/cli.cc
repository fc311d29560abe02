#include "admin/cli.h"

#include <fcntl.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>

#include "admin/ctl.h"
#include "admin/demo.h"
#include "admin/run.h"
#include "admin/top.h"

namespace sluice::admin {
namespace {

constexpr int kUsage = 2;

void add_ctl(CLI::App& app, CtlOptions& options) {
  CLI::App* const ctl = app.add_subcommand("ctl", "Send one admin command to a running sluice");
  ctl->add_option("-s,--socket", options.socket,
                  "The admin socket; else SLUICE_SOCKET, else the one in the file SLUICE_CONFIG")
      ->type_name("SOCKET");
  ctl->add_flag("--json", options.json, "Answer in JSON");
  // What follows belongs to the command, dashes and all: show events -w.
  ctl->prefix_command();
  ctl->footer("CMD: see 'sluice ctl help'. Exit codes: 0 done, 1 refused, 2 usage or unreachable.");
  ctl->callback([ctl, &options] { options.words = ctl->remaining(); });
}

}  // namespace

namespace {

// A closed one would be given to the next file that is opened, and written to
// as standard error is.
void open_standard_streams() {
  for (int fd = open("/dev/null", O_RDWR); fd >= 0; fd = dup(fd)) {
    if (fd <= STDERR_FILENO) continue;
    close(fd);
    return;
  }
}

// The library would only say that a subcommand is required.
void tell_unknown(const CLI::App& app, const std::string& word) {
  std::string names;
  for (const CLI::App* const command : app.get_subcommands({})) {
    names += (names.empty() ? "" : ", ") + command->get_name();
  }
  const bool option = word.starts_with('-');
  std::fprintf(stderr, "sluice: there is no %s '%s'. The subcommands are %s.\nSee 'sluice --help'.\n",
               option ? "option" : "subcommand", word.c_str(), names.c_str());
}

}  // namespace

int run_cli(int argc, char** argv, const char* version) {
  open_standard_streams();
  CLI::App app("sluice splits a service's requests between blue and green");
  app.require_subcommand(1);
  app.set_version_flag("--version", std::string("sluice ") + version);
  std::string file;
  CLI::App* const run = app.add_subcommand("run", "Serve in the foreground");
  run->add_option("-c,--config", file, "The configuration")
      ->envname("SLUICE_CONFIG")
      ->required()
      ->type_name("FILE");
  run->footer(
      "SIGTERM drains and exits 0, SIGHUP reloads, SIGUSR1 opens the access log anew,\n"
      "SIGUSR2 starts the binary anew, without a lost request.");
  bool json = false;
  const auto add_json = [&json](CLI::App* command) { command->add_flag("--json", json, "Answer in JSON"); };
  CLI::App* const check = app.add_subcommand("check", "Check a configuration: exit 0, or 1 with every error");
  add_json(check);
  check->add_option("file", file, "The configuration")
      ->envname("SLUICE_CONFIG")
      ->required()
      ->type_name("FILE");
  CtlOptions ctl;
  add_ctl(app, ctl);
  std::string socket;
  CLI::App* const top = app.add_subcommand("top", "Watch a running sluice in the terminal");
  top->add_option("-s,--socket", socket,
                  "The admin socket; else SLUICE_SOCKET, else the one in the file SLUICE_CONFIG")
      ->type_name("SOCKET");
  CLI::App* const tell = app.add_subcommand("version", "Print the version");
  add_json(tell);
  DemoOptions demo;
  CLI::App* const show =
      app.add_subcommand("demo", "Two origins, the proxy and traffic, in one process tree");
  show->add_flag("--fast", demo.fast, "A third of the time for each scene");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    if (error.get_exit_code() != 0 && app.get_subcommands().empty() && !app.remaining().empty()) {
      tell_unknown(app, app.remaining().front());
      return kUsage;
    }
    return app.exit(error) == 0 ? 0 : kUsage;
  }
  if (app.got_subcommand(tell)) {
    std::printf(json ? "{\"ok\":true,\"version\":\"%s\"}\n" : "sluice %s\n", version);
    return 0;
  }
  if (app.got_subcommand("ctl")) return run_ctl(ctl);
  if (app.got_subcommand(top)) return run_top(socket);
  if (app.got_subcommand(show)) {
    demo.program = "/proc/self/exe";
    return run_demo(demo);
  }
  return app.got_subcommand(run) ? run_proxy(file, version) : check_file(file, json);
}

}  // namespace sluice::admin
