#include "proxy/state_writer.h"

#include <algorithm>
#include <cassert>
#include <chrono>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <utility>

#include "balancer/report_files.h"

namespace sluice::proxy {

using balancer::StateStore;

// What the thread needs, for as long as it runs.
struct StateWriter::Core {
  // The work, with what the control thread is to be told of it.
  using Work = std::function<Mailbox::Task(Core&)>;
  struct Job {
    bool is_state;
    uint64_t number;  // of a state
    std::string what;
    Work work;
  };

  Core(Mailbox& the_mailbox, const Hooks& the_hooks, std::shared_ptr<balancer::FileSystem> the_files)
      : mailbox(the_mailbox), found(the_hooks.found), files(std::move(the_files)) {}

  void run();
  conf::Status save(const std::function<conf::Status(StateStore&)>& work);
  conf::Status open();

  Mailbox& mailbox;  // not after `left`
  const decltype(Hooks::found) found;
  const std::shared_ptr<balancer::FileSystem> files;
  std::string directory;
  std::unique_ptr<balancer::ReportFiles> reports;
  std::unique_ptr<StateStore> store;  // the thread's while a state is asked for
  std::mutex mutex;
  std::condition_variable woken;
  std::condition_variable has_ended;
  std::deque<Job> jobs;   // guarded by mutex, as are all below
  bool stopping = false;  // when all jobs are done
  bool left = false;      // at once
  bool ended = false;
  bool unread = false;   // nobody knows yet what the store remembers
  bool joining = false;  // what it remembers is not part of what is to be saved yet
};

void StateWriter::Core::run() {
  sigset_t all;
  sigfillset(&all);
  pthread_sigmask(SIG_BLOCK, &all, nullptr);  // signals are the control thread's
  std::unique_lock<std::mutex> lock(mutex);
  while (!left) {
    woken.wait(lock, [this] { return stopping || !jobs.empty(); });
    if (jobs.empty()) break;
    const Job job = std::move(jobs.front());
    jobs.pop_front();
    lock.unlock();
    Mailbox::Task told = job.work(*this);
    lock.lock();
    if (!left) mailbox.post(std::move(told));
  }
  store.reset();
  ended = true;
  has_ended.notify_all();
}

conf::Status StateWriter::Core::save(const std::function<conf::Status(StateStore&)>& work) {
  if (store == nullptr) {
    if (conf::Status opened = open(); !opened.ok()) return opened;
  }
  {
    const std::lock_guard<std::mutex> lock(mutex);
    if (joining) {
      return conf::Error{
          conf::Error::Kind::unavailable, conf::Error::Source::system, true,
          "the journal in " + directory + " can be read now; what it remembers is taken up first"};
    }
  }
  return work(*store);
}

conf::Status StateWriter::Core::open() {
  // A disk that failed at the start may not even have had the folder.
  if (conf::Status made = files->make_directory(directory, kFolderMode); !made.ok()) return made;
  conf::Result<std::unique_ptr<StateStore>> opened = StateStore::open(*files, directory);
  if (!opened.ok()) return opened.error();
  store = std::move(*opened);
  const std::lock_guard<std::mutex> lock(mutex);
  if (!std::exchange(unread, false)) return conf::Done{};
  Found what{store->services(), store->freeze(), store->recovery(), store->unreadable()};
  if (what.services.empty() && !what.freeze.on && !what.recovery.lost_any() && what.unreadable.empty()) {
    return conf::Done{};
  }
  joining = true;
  if (!left) mailbox.post([tell = found, what = std::move(what)] { tell(what); });
  return conf::Done{};
}

StateWriter::StateWriter(Mailbox& mailbox, Hooks hooks, std::shared_ptr<balancer::FileSystem> files)
    : hooks_(std::move(hooks)), core_(std::make_shared<Core>(mailbox, hooks_, std::move(files))) {}

StateWriter::~StateWriter() {
  end();
}

balancer::FileSystem& StateWriter::files() {
  return *core_->files;
}

void StateWriter::begin(const std::string& state_dir, std::unique_ptr<StateStore> store) {
  assert(!thread_.joinable());
  core_->directory = state_dir;
  core_->reports = std::make_unique<balancer::ReportFiles>(*core_->files, state_dir);
  core_->unread = store == nullptr;
  core_->store = std::move(store);
  thread_ = std::thread([core = core_] { core->run(); });
  keeps_ = true;
}

void StateWriter::ask(const std::string& what, std::function<conf::Status(StateStore&)> work) {
  if (!keeps_) return;
  const std::lock_guard<std::mutex> lock(core_->mutex);
  auto place = std::find_if(core_->jobs.begin(), core_->jobs.end(),
                            [&](const Core::Job& job) { return job.is_state && job.what == what; });
  ++asked_;
  if (place == core_->jobs.end()) {
    core_->jobs.push_back({true, asked_, what, {}});
    place = std::prev(core_->jobs.end());
    saving_.insert(asked_);
  }
  place->work = [this, number = place->number, what, work = std::move(work)](Core& core) -> Mailbox::Task {
    return [this, number, what, status = core.save(work)] {
      saving_.erase(number);
      hooks_.saved(what, status);
    };
  };
  core_->woken.notify_one();
}

void StateWriter::save(const std::string& service, balancer::SavedService state) {
  ask(service, [service, state = std::move(state)](StateStore& store) { return store.save(service, state); });
}

void StateWriter::save_freeze(balancer::SavedFreeze freeze) {
  ask(kFreeze, [freeze = std::move(freeze)](StateStore& store) { return store.save_freeze(freeze); });
}

void StateWriter::settle() {
  assert(!saving());
  ask(kSettled, [](StateStore& store) { return store.settle(); });
}

void StateWriter::write_report(std::string_view kind, const std::string& service, int64_t unix_ms,
                               std::string json, std::string text) {
  if (!thread_.joinable()) return;
  if (reports_ >= kMostReports) {
    hooks_.reported(service, conf::Error{conf::Error::Kind::unavailable, conf::Error::Source::system, true,
                                         "The disk of state_dir is too slow: " + std::to_string(reports_) +
                                             " reports wait for it."});
    return;
  }
  ++reports_;
  const std::lock_guard<std::mutex> lock(core_->mutex);
  core_->jobs.push_back({false, 0, service,
                         [this, kind = std::string(kind), service, unix_ms, json = std::move(json),
                          text = std::move(text)](Core& core) -> Mailbox::Task {
                           return [this, service,
                                   path = core.reports->write(kind, service, unix_ms, json, text)] {
                             --reports_;
                             hooks_.reported(service, path);
                           };
                         }});
  core_->woken.notify_one();
}

void StateWriter::joined() {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  core_->joining = false;
}

bool StateWriter::unread() const {
  const std::lock_guard<std::mutex> lock(core_->mutex);
  return core_->unread;
}

void StateWriter::let_go() {
  assert(!saving());
  keeps_ = false;
  core_->store.reset();
}

bool StateWriter::end(uint64_t most_ms) {
  if (!thread_.joinable()) return true;
  keeps_ = false;
  std::unique_lock<std::mutex> lock(core_->mutex);
  core_->stopping = true;
  core_->woken.notify_one();
  const bool ended =
      core_->has_ended.wait_for(lock, std::chrono::milliseconds(most_ms), [this] { return core_->ended; });
  core_->left = !ended;
  lock.unlock();
  if (ended) {
    thread_.join();
  } else {
    thread_.detach();
  }
  return ended;
}

}  // namespace sluice::proxy
