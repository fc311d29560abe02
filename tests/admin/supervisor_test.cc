#include "admin/supervisor.h"

#include <catch2/catch.hpp>

using sluice::admin::notify_supervisor;
using sluice::admin::Supervisor;

TEST_CASE("supervisor: nobody listens where the environment names no socket") {
  CHECK(Supervisor::settings(nullptr, "1000000").socket.empty());
  CHECK(Supervisor::settings("", "1000000").socket.empty());
  CHECK(Supervisor::settings("relative", nullptr).socket.empty());
}

TEST_CASE("supervisor: the watchdog is given in microseconds") {
  CHECK(Supervisor::settings("/run/notify", "30000000").watchdog_ms == 30'000);
  CHECK(Supervisor::settings("@notify", "2000").watchdog_ms == 2);
}

TEST_CASE("supervisor: a watchdog that is no number, or too short, is none") {
  for (const char* text : {"", "soon", "-5", "10s", "1999", "99999999999999999999999"}) {
    INFO(text);
    CHECK(Supervisor::settings("/run/notify", text).watchdog_ms == 0);
  }
}

TEST_CASE("supervisor: a message that nobody takes is dropped") {
  CHECK_FALSE(notify_supervisor("/nonexistent/notify", "READY=1"));
  CHECK_FALSE(notify_supervisor(std::string(200, 'x'), "READY=1"));
}
