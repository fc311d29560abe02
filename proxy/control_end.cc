// What ends the process, or asks for something by a signal.
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <memory>
#include <utility>

#include "proxy/control.h"
#include "proxy/countdown.h"

namespace sluice::proxy {

void Control::start_signals() {
  for (const int number : {SIGTERM, SIGINT, SIGHUP, SIGUSR1, SIGUSR2}) {
    auto handle = std::make_unique<uv_signal_t>();
    uv_signal_init(loop_.uv(), handle.get());
    handle->data = this;
    uv_signal_start(handle.get(), on_signal, number);
    signals_.push_back(std::move(handle));
  }
  std::signal(SIGPIPE, SIG_IGN);
  std::signal(SIGXFSZ, SIG_IGN);  // a file at its limit is a failed write like any other
}

void Control::on_signal(uv_signal_t* handle, int number) {
  Control& self = *static_cast<Control*>(handle->data);
  const Loop::Scope scope(self.loop_);
  const Actor actor{"signal", strsignal(number)};
  if (number == SIGHUP || number == SIGUSR1) {
    if (const conf::Status opened = self.access_log_.reopen(); !opened.ok()) {
      self.add_event("log_not_reopened", "", opened.error().detail);
    }
    if (number == SIGHUP) self.reload_unasked(actor);
  } else if (number == SIGUSR2) {
    self.upgrade(actor);
  } else if (self.state_ != RunState::draining) {
    self.drain(actor);
  } else if (number == SIGINT) {
    self.shutdown(actor);  // somebody at a terminal, who has waited long enough
  }
}

void Control::drain(const Actor& actor) {
  if (state_ != RunState::running) return;
  upgrade_.abandon();
  state_ = RunState::draining;
  add_event("draining", "",
            "no new connections; requests under way have " + std::to_string(config_.drain_ms / 1000) +
                " s to finish",
            {{"source", actor.source}, {"who", actor.who}});
  changed();
  rollouts_.save_evidence();
  loop_.arm(drain_deadline_, config_.drain_ms);
  remove_paths();
  const auto countdown = std::make_shared<Countdown>(worker_count(), [this] {
    if (successor_ == 0) stop_workers();  // else when all places are free, see tell_places()
  });
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), countdown] {
      one->begin_drain([this, countdown] { mailbox_.post([countdown] { countdown->one(); }); });
    });
  }
}

void Control::shutdown(const Actor& actor) {
  if (state_ == RunState::stopped) return;
  if (announced_)
    add_event("shutdown", "", "stopping at once", {{"source", actor.source}, {"who", actor.who}});
  stop_workers();
}

// The time to finish is over.
void Control::cut_off() {
  const uint32_t left = client_connections();
  if (left > 0) {
    add_event("drain_timeout", "",
              std::to_string(left) + " connections had not finished within drain_timeout and were cut off",
              {{"connections", std::to_string(left)}});
  }
  stop_workers();
}

void Control::stop_workers() {
  if (state_ == RunState::stopped) return;
  upgrade_.abandon();
  rollouts_.save_evidence();
  // Once, as in drain(): later they may be another process's.
  if (state_ == RunState::running) remove_paths();
  state_ = RunState::stopped;
  changed();
  drain_deadline_.disarm();
  places_timer_.disarm();
  const auto countdown = std::make_shared<Countdown>(worker_count(), [this] {
    upgrade_.close();  // all places are free
    webhooks_.finish([this] { finish(); });
  });
  for (const auto& worker : workers_) {
    worker->post([this, one = worker.get(), countdown] {
      one->close_all();
      mailbox_.post([countdown] { countdown->one(); });
    });
  }
}

// No worker has a connection or a waiter left: now none needs to be woken.
void Control::finish() {
  for (const OpenListener& one : listeners_) {
    for (const int fd : one.fds) {
      if (!accepting_) close(fd);  // else it is a worker's
    }
  }
  for (const auto& worker : workers_) {
    worker->post([one = worker.get()] { one->stop(); });
  }
  for (const auto& closer : closers_) closer();
  http_client_.close();
  health_.close();
  rollouts_.close();
  predecessor_.close();
  resolver_.close();
  for (const auto& handle : signals_) uv_close(reinterpret_cast<uv_handle_t*>(handle.get()), nullptr);
  mailbox_.close();
  loop_.stop();
}

}  // namespace sluice::proxy
