#include "admin/run.h"

#include <fmt/format.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <utility>

#include "admin/http.h"
#include "admin/json.h"
#include "admin/server.h"
#include "admin/supervisor.h"
#include "conf/parse.h"
#include "proxy/control.h"
#include "proxy/cpus.h"
#include "proxy/descriptors.h"
#include "proxy/privileges.h"

namespace sluice::admin {
namespace {

int complain(const conf::Error& error) {
  std::fprintf(stderr, "sluice: %s\n", error.detail.c_str());
  return 1;
}

conf::Status start_admin(const conf::Admin& admin, Server& server, HttpServer& http) {
  if (!admin.socket.empty()) {
    if (conf::Status started = server.start(admin.socket, admin.mode); !started.ok()) return started;
  }
  server.history().start();
  if (!admin.http.has_value()) return conf::Done{};
  if (conf::Status started = http.start(*admin.http, admin.mode); !started.ok()) return started;
  server.context().http_address = http.address().to_string();
  return conf::Done{};
}

}  // namespace

namespace {

// Those that mean something to a process that runs wait until it does; their
// default would be its end.
class EarlySignals {
 public:
  EarlySignals() {
    sigset_t early;
    sigemptyset(&early);
    for (const int number : {SIGHUP, SIGUSR1, SIGUSR2}) sigaddset(&early, number);
    pthread_sigmask(SIG_BLOCK, &early, &before_);
  }
  void deliver() const { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }

 private:
  sigset_t before_{};
};

}  // namespace

int run_proxy(const std::string& file, const std::string& version) {
  const EarlySignals early;
  conf::ParseOutcome outcome = conf::parse_file(file);
  if (!outcome.ok()) {
    std::fprintf(stderr, "%s\n", outcome.to_string().c_str());
    return 1;
  }
  // Before anything needs a descriptor.
  const conf::Config& config = *outcome.config;
  const uint32_t workers = config.workers != 0 ? config.workers : proxy::usable_cpus();
  if (const auto budget = proxy::budget_descriptors(config, workers); !budget.ok()) {
    return complain(budget.error());
  }
  if (const auto kept = proxy::gain_no_privileges(); !kept.ok()) return complain(kept.error());
  const conf::Admin admin = config.admin;
  proxy::Control control(std::move(*outcome.config), version, proxy::Inheritance::take());
  Server server(control);
  HttpServer http(server.context(), server.history());
  if (conf::Status started = control.start(); !started.ok()) {
    const int code = complain(started.error());
    control.run();
    return code;
  }
  if (const conf::Status served = start_admin(admin, server, http); !served.ok()) {
    const int code = complain(served.error());
    control.shutdown({"start", ""});
    control.run();
    return code;
  }
  early.deliver();
  const Supervisor supervisor(
      control, Supervisor::settings(std::getenv("NOTIFY_SOCKET"), std::getenv("WATCHDOG_USEC")));
  return control.run();
}

namespace {

Json to_json(const conf::ParseOutcome& outcome) {
  if (outcome.ok()) {
    return {{"ok", true}, {"file", outcome.file}, {"services", outcome.config->services.size()}};
  }
  const size_t count = outcome.errors.size();
  Json errors = Json::array();
  for (const conf::Diagnostic& error : outcome.errors) {
    errors.push_back({{"line", error.position.line},
                      {"column", error.position.column},
                      {"message", error.message},
                      {"hint", error.hint.empty() ? Json() : Json(error.hint)}});
  }
  return {
      {"ok", false},
      {"error", {{"code", "invalid"}, {"message", fmt::format("{} error{}", count, count == 1 ? "" : "s")}}},
      {"file", outcome.file},
      {"errors", std::move(errors)}};
}

}  // namespace

int check_file(const std::string& file, bool json) {
  const conf::ParseOutcome outcome = conf::parse_file(file);
  if (json) {
    std::printf("%s\n", dump(to_json(outcome)).c_str());
  } else if (outcome.ok()) {
    std::printf("%s: no errors\n", file.c_str());
  } else {
    std::fprintf(stderr, "%s\n", outcome.to_string().c_str());
  }
  return outcome.ok() ? 0 : 1;
}

}  // namespace sluice::admin
