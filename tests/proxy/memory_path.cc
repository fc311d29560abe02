#include "memory_path.h"

#include <utility>

namespace sluice::proxy::test {

conf::Address address(const std::string& host, uint16_t port) {
  conf::Address result;
  result.host = host;
  result.port = port;
  return result;
}

conf::Config one_service(uint32_t endpoints) {
  conf::Config config;
  conf::Service service;
  service.name = "web";
  service.has_green = true;
  service.retry.on_status = {};
  for (uint32_t i = 0; i < endpoints; ++i) {
    service.upstreams[0].endpoints.push_back({address("10.0.0." + std::to_string(1 + 2 * i)), 1});
    service.upstreams[1].endpoints.push_back({address("10.0.0." + std::to_string(2 + 2 * i)), 1});
  }
  config.services.emplace("web", service);
  return config;
}

void RecordingReporter::attempt_failed(const AttemptFailure& failure) {
  failures.push_back(
      {failure.upstream->name(), failure.endpoint->name(), failure.outcome, failure.status, failure.by_lot});
}

void RecordingReporter::request_finished(const AccessRecord& record) {
  finished.push_back({std::string(record.target), std::string(record.upstream), std::string(record.endpoint),
                      std::string(record.error), std::string(record.attempts), record.status, record.retried,
                      record.rescued, record.aborted, record.bytes_up, record.bytes_down, record.queue_us});
}

MemoryPath::MemoryPath(conf::Config config, uint64_t seed)
    : loop(seed),
      network(loop),
      dialer(network),
      context(loop, 0, dialer, reporter),
      registry(1, [this](uint32_t) { context.serve_caps_later(); }) {
  loop.set_time_us(kStartUs);
  context.queued = &queued;
  context.max_queued = config.overload.max_queued;
  context.clients = &clients;
  if (config.overload.max_connections != 0) context.max_clients = config.overload.max_connections;
  adopt(std::move(config));
}

MemoryPath::~MemoryPath() {
  close();
}

std::string MemoryPath::close() {
  if (std::exchange(closed_, true)) return {};
  run();
  context.begin_drain();
  connections.drain();
  connections.close_all();
  context.close_all();
  run();
  std::string left;
  const auto none = [&left](uint64_t count, const std::string& what) {
    if (count != 0) left += std::to_string(count) + " " + what + "\n";
  };
  none(network.streams(), "streams");
  none(connections.size(), "client connections");
  none(context.upstream_connections, "upstream connections");
  none(queued, "queued requests");
  for (const auto& [name, entry] : registry.services()) {
    for (const auto& upstream : entry.upstreams) {
      none(upstream->connections()->used(), "places of " + upstream->name());
      none(upstream->queued(), "requests in the queue of " + upstream->name());
      none(upstream->connections()->has_waiters() ? 1 : 0, "waiters at " + upstream->name());
      none(upstream->connections()->idle(0), "idle connections of " + upstream->name());
    }
  }
  for (const auto& [name, shared] : registry.caps()) none(shared->used(), "places of the cap " + name);
  none(loop.close() == 0 ? 0 : 1, "open loop");
  return left;
}

std::shared_ptr<Peer> MemoryPath::connect(std::string ip, bool trusted) {
  std::shared_ptr<Peer> peer;
  std::unique_ptr<Stream> stream = network.make(peer);
  DownstreamConnection::start(context, connections, traits, std::move(stream), std::move(ip), trusted);
  return peer;
}

void MemoryPath::pass_ms(uint64_t ms) {
  const uint64_t end_us = loop.now_us() + ms * 1000;
  run();
  while (loop.now_us() < end_us) {
    loop.set_time_us(std::min(end_us, loop.now_us() + TimerWheel::kTickMs * 1000));
    run();
  }
}

void MemoryPath::adopt(conf::Config config, const ResolvedNames& names) {
  context.adopt(registry.build(config, names, 0));
  loop.run_deferred();
}

void MemoryPath::set_split(conf::BasisPoints green) {
  balancer::Split& split = service().state->split();
  split.set({green, split.get().generation + 1});
}

void MemoryPath::trip() {
  service().state->set_tripped(true);
  context.redirect_waiters(service().upstreams[1].get());
  loop.run_deferred();
}

void MemoryPath::set_mode(conf::Colour colour, size_t endpoint, balancer::EndpointMode mode) {
  const auto i = static_cast<size_t>(colour);
  balancer::EndpointState& state = *service().endpoints[i].at(endpoint).state;
  balancer::EndpointCondition condition = state.condition();
  condition.mode = mode;
  state.set_condition(condition);
  service().upstreams[i]->bump_epoch();
  context.serve_caps_later();
  loop.run_deferred();
}

balancer::UpstreamCounters& MemoryPath::counters(conf::Colour colour) {
  return service().upstreams[static_cast<size_t>(colour)]->stats(0).counters;
}

balancer::Cap& MemoryPath::cap(conf::Colour colour) {
  return *service().upstreams[static_cast<size_t>(colour)]->connections();
}

std::string MemoryPath::ask(Peer& client, const std::string& request, const std::string& answer) {
  client.take_received();
  std::vector<size_t> before;
  for (const auto& one : dialer.dialled) before.push_back(one->received().size());
  client.send(request);
  run();
  for (size_t i = 0; i < dials(); ++i) {
    if (origin(i).open() && origin(i).received().size() > (i < before.size() ? before[i] : 0))
      origin(i).send(answer);
  }
  run();
  return client.take_received();
}

}  // namespace sluice::proxy::test
