#include "admin/run.h"

#include <cstdio>
#include <utility>

#include "admin/http.h"
#include "admin/server.h"
#include "conf/parse.h"
#include "proxy/control.h"

namespace sluice::admin {
namespace {

int complain(const conf::Error& error) {
  std::fprintf(stderr, "sluice: %s\n", error.detail.c_str());
  return 1;
}

conf::Status start_admin(const conf::Admin& admin, Server& server, HttpServer& http) {
  if (!admin.socket.empty()) {
    if (const conf::Status started = server.start(admin.socket, admin.mode); !started.ok()) return started;
  }
  server.history().start();
  if (!admin.http.has_value()) return conf::Done{};
  if (const conf::Status started = http.start(*admin.http); !started.ok()) return started;
  server.context().http_address = http.address().to_string();
  return conf::Done{};
}

}  // namespace

int run_proxy(const std::string& file, const std::string& version) {
  conf::ParseOutcome outcome = conf::parse_file(file);
  if (!outcome.ok()) {
    std::fprintf(stderr, "%s\n", outcome.to_string().c_str());
    return 1;
  }
  const conf::Admin admin = outcome.config->admin;
  proxy::Control control(std::move(*outcome.config), version);
  Server server(control);
  HttpServer http(server.context(), server.history());
  if (const conf::Status started = control.start(); !started.ok()) {
    const int code = complain(started.error());
    // Workers that had begun already must end.
    if (control.state() == proxy::RunState::stopped) control.run();
    return code;
  }
  if (const conf::Status served = start_admin(admin, server, http); !served.ok()) {
    const int code = complain(served.error());
    control.shutdown({"start", ""});
    control.run();
    return code;
  }
  return control.run();
}

int check_file(const std::string& file) {
  const conf::ParseOutcome outcome = conf::parse_file(file);
  if (outcome.ok()) {
    std::printf("%s: no errors\n", file.c_str());
    return 0;
  }
  std::fprintf(stderr, "%s\n", outcome.to_string().c_str());
  return 1;
}

}  // namespace sluice::admin
