#include "proxy/resolver.h"

#include <ares.h>
#include <arpa/inet.h>
#include <fmt/format.h>

#include <algorithm>
#include <limits>
#include <utility>

namespace sluice::proxy {

namespace {

using Families = DnsLookup::Families;
using Answer = DnsLookup::Answer;

// The canonical text when the name is an IP address, else empty.
std::string numeric_address(const std::string& name) {
  for (const int family : {AF_INET, AF_INET6}) {
    char address[sizeof(in6_addr)];
    char text[INET6_ADDRSTRLEN];
    if (inet_pton(family, name.c_str(), address) == 1) return inet_ntop(family, address, text, sizeof(text));
  }
  return {};
}

}  // namespace

class Resolver::Impl {
 public:
  Impl(Loop& loop, Options options, std::function<void()> changed,
       std::function<void(const std::string&)> failed);
  Impl(const Impl&) = delete;
  Impl& operator=(const Impl&) = delete;
  ~Impl();

  void watch(const std::set<std::string>& names);
  const ResolvedNames& names() const { return names_; }
  void close();

 private:
  // One watched name. A round begins with the question for both families.
  struct Watched {
    Watched(Impl& owner, std::string its_name);

    Impl& resolver;
    const std::string name;
    Timer timer;                        // armed between rounds
    std::unique_ptr<DnsLookup> lookup;  // set during a round
    std::vector<std::string> ipv4;      // the last good answers
    std::vector<std::string> ipv6;
    uint32_t failures = 0;  // rounds in a row that gave no address, or failed

    // Of this round:
    uint64_t ttl_s = 0;
    bool failed = false;    // at least one question
    bool answered = false;  // at least one question
    std::string problem;
    bool ask_ipv4 = false;  // these are missing and still to be asked for alone
    bool ask_ipv6 = false;
  };

  void begin_round(Watched& watched);
  void ask(Watched& watched, Families families);
  void settle();
  void take(Watched& watched, Families families, const Answer& answer);
  void publish(const Watched& watched);
  void end_round(Watched& watched);

  Loop& loop_;
  const Options options_;
  const std::function<void()> on_changed_;
  const std::function<void(const std::string&)> on_failed_;
  Deferred settle_;  // runs when lookups have finished
  std::map<std::string, std::unique_ptr<Watched>> watched_;
  ResolvedNames names_;
  bool changed_ = false;
  std::vector<std::string> problems_;
  bool closed_ = false;
};

Resolver::Impl::Watched::Watched(Impl& owner, std::string its_name)
    : resolver(owner),
      name(std::move(its_name)),
      timer(
          [](void* self) {
            Watched& watched = *static_cast<Watched*>(self);
            watched.resolver.begin_round(watched);
          },
          this) {}

Resolver::Impl::Impl(Loop& loop, Options options, std::function<void()> changed,
                     std::function<void(const std::string&)> failed)
    : loop_(loop),
      options_(std::move(options)),
      on_changed_(std::move(changed)),
      on_failed_(std::move(failed)),
      settle_([](void* self) { static_cast<Impl*>(self)->settle(); }, this) {
  ares_library_init(ARES_LIB_INIT_ALL);
}

Resolver::Impl::~Impl() {
  close();
  ares_library_cleanup();
}

void Resolver::Impl::close() {
  closed_ = true;
  watched_.clear();
}

void Resolver::Impl::watch(const std::set<std::string>& names) {
  if (closed_) return;
  std::erase_if(watched_, [&names](const auto& entry) { return !names.contains(entry.first); });
  std::erase_if(names_, [&names](const auto& entry) { return !names.contains(entry.first); });
  for (const std::string& name : names) {
    if (watched_.contains(name) || names_.contains(name)) continue;
    if (std::string address = numeric_address(name); !address.empty()) {
      names_[name] = {std::move(address)};
    } else {
      begin_round(*watched_.emplace(name, std::make_unique<Watched>(*this, name)).first->second);
    }
  }
}

void Resolver::Impl::begin_round(Watched& watched) {
  watched.ttl_s = std::numeric_limits<uint32_t>::max();
  watched.failed = false;
  watched.answered = false;
  watched.problem.clear();
  ask(watched, Families::both);
}

void Resolver::Impl::ask(Watched& watched, Families families) {
  watched.lookup = std::make_unique<DnsLookup>(loop_, options_.lookup, watched.name, families, settle_);
}

// Whoever is told may call watch(), so that comes last.
void Resolver::Impl::settle() {
  for (auto& [name, watched] : watched_) {
    if (watched->lookup == nullptr || !watched->lookup->finished()) continue;
    const std::unique_ptr<DnsLookup> lookup = std::move(watched->lookup);
    take(*watched, lookup->families(), lookup->answer());
    if (std::exchange(watched->ask_ipv4, false)) {
      ask(*watched, Families::ipv4);
    } else if (std::exchange(watched->ask_ipv6, false)) {
      ask(*watched, Families::ipv6);
    } else {
      end_round(*watched);
    }
  }
  for (const std::string& problem : std::exchange(problems_, {})) on_failed_(problem);
  if (std::exchange(changed_, false)) on_changed_();
}

void Resolver::Impl::take(Watched& watched, Families families, const Answer& answer) {
  if (answer.kind != Answer::Kind::found) watched.problem = answer.problem;
  if (answer.kind == Answer::Kind::failed) {
    watched.failed = true;
    return;
  }
  if (answer.kind == Answer::Kind::found) watched.ttl_s = std::min(watched.ttl_s, answer.ttl_s);
  const bool both = families == Families::both;
  watched.ask_ipv4 = watched.ask_ipv4 || (both && answer.ipv4.empty() && !watched.ipv4.empty());
  watched.ask_ipv6 = watched.ask_ipv6 || (both && answer.ipv6.empty() && !watched.ipv6.empty());
  if (families != Families::ipv6 && !watched.ask_ipv4) watched.ipv4 = answer.ipv4;
  if (families != Families::ipv4 && !watched.ask_ipv6) watched.ipv6 = answer.ipv6;
  watched.answered = true;
}

void Resolver::Impl::publish(const Watched& watched) {
  std::vector<std::string> all = watched.ipv4;
  all.insert(all.end(), watched.ipv6.begin(), watched.ipv6.end());
  std::sort(all.begin(), all.end());
  all.erase(std::unique(all.begin(), all.end()), all.end());
  std::vector<std::string>& known = names_[watched.name];
  if (known == all) return;
  known = std::move(all);
  changed_ = true;
}

void Resolver::Impl::end_round(Watched& watched) {
  if (watched.answered) publish(watched);
  const size_t kept = watched.ipv4.size() + watched.ipv6.size();
  if (!watched.failed && kept > 0) {
    watched.failures = 0;
    loop_.arm(watched.timer, std::clamp(watched.ttl_s * 1000, options_.least_ttl_ms, options_.most_ttl_ms));
    return;
  }
  uint64_t pause_ms = kFirstRetryMs;
  for (uint32_t i = 0; i < watched.failures && pause_ms < kMostRetryMs; ++i) pause_ms *= 2;
  pause_ms = std::min(pause_ms, kMostRetryMs);
  ++watched.failures;
  loop_.arm(watched.timer, pause_ms);
  problems_.push_back(
      fmt::format("dns:{} was not resolved: {}; {} known addresses stay in use; next try in {} ms",
                  watched.name, watched.problem, kept, pause_ms));
}

Resolver::Resolver(Loop& loop, std::function<void()> changed, std::function<void(const std::string&)> failed)
    : Resolver(loop, Options{}, std::move(changed), std::move(failed)) {}

Resolver::Resolver(Loop& loop, Options options, std::function<void()> changed,
                   std::function<void(const std::string&)> failed)
    : impl_(std::make_unique<Impl>(loop, std::move(options), std::move(changed), std::move(failed))) {}

Resolver::~Resolver() = default;

void Resolver::watch(const std::set<std::string>& names) {
  impl_->watch(names);
}

const ResolvedNames& Resolver::names() const {
  return impl_->names();
}

void Resolver::close() {
  impl_->close();
}

}  // namespace sluice::proxy
