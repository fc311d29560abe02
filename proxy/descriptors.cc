#include "proxy/descriptors.h"

#include <sys/resource.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace sluice::proxy {
namespace {

// Standard streams, the admin listeners and a few of their clients, state, logs,
// the file that a reload reads, name servers.
constexpr uint64_t kOwn = 24;
constexpr uint64_t kOfLoop = 5;  // what libuv keeps open for each
constexpr uint64_t kLeastConnections = 8;
constexpr uint64_t kMost = uint64_t{1} << 30;

conf::Error failure(std::string detail) {
  return {conf::Error::Kind::io, conf::Error::Source::system, false, std::move(detail)};
}

}  // namespace

conf::Result<DescriptorBudget> divide_descriptors(uint64_t limit, const conf::Config& config,
                                                  uint32_t workers) {
  uint64_t own = kOwn + kOfLoop * (workers + 1) + config.listeners.size() * workers;
  for (const auto& [name, service] : config.services) {
    if (!service.health.enabled) continue;
    for (const conf::Upstream& upstream : service.upstreams) own += upstream.endpoints.size();
  }
  if (limit < own + kLeastConnections) {
    return failure("the limit of open files is " + std::to_string(limit) + ", at least " +
                   std::to_string(own + kLeastConnections) +
                   " are needed; raise it (ulimit -n, or LimitNOFILE in a systemd unit)");
  }
  const auto left = static_cast<uint32_t>(std::min(limit, kMost) - own);
  return DescriptorBudget{limit, left / 2, left - left / 2};
}

DescriptorParts parts_of(const DescriptorBudget& budget, uint64_t upstreams_need, uint32_t upstreams_have) {
  const uint64_t wanted = std::max(kKeptForUpstreams * upstreams_need, upstreams_have + upstreams_need);
  const auto upstream = static_cast<uint32_t>(std::min<uint64_t>(budget.upstream, wanted + kKeptBesides));
  return {budget.connections() - upstream, upstream};
}

void shrink_to(const DescriptorParts& parts, balancer::Cap& clients, balancer::Cap& upstream) {
  if (clients.max() > parts.clients) clients.set_max(parts.clients);
  if (upstream.max() > parts.upstream) upstream.set_max(parts.upstream);
}

void grow_to(const DescriptorParts& parts, balancer::Cap& clients, balancer::Cap& upstream) {
  const uint32_t all = parts.clients + parts.upstream;
  const auto grow = [all](balancer::Cap& side, uint32_t part, const balancer::Cap& other) {
    const uint32_t left = all - std::min(all, std::max(other.max(), other.used()));
    if (std::min(part, left) > side.max()) side.set_max(std::min(part, left));
  };
  grow(upstream, parts.upstream, clients);
  grow(clients, parts.clients, upstream);
}

conf::Result<DescriptorBudget> budget_descriptors(const conf::Config& config, uint32_t workers) {
  rlimit files{};
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) {
    return failure(std::string("the limit of open files is not known: ") + std::strerror(errno));
  }
  if (files.rlim_cur < files.rlim_max) {
    const rlim_t before = files.rlim_cur;
    files.rlim_cur = files.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &files) != 0) files.rlim_cur = before;
  }
  return divide_descriptors(files.rlim_cur, config, workers);
}

}  // namespace sluice::proxy
