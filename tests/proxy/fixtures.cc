#include "fixtures.h"

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

DataPath::DataPath(conf::Config config, uint64_t seed)
    : loop(seed),
      network(loop),
      dialer(network),
      context(loop, 0, dialer, reporter),
      registry(1, [this](uint32_t) { context.serve_caps_later(); }) {
  loop.set_time_us(kStartUs);
  context.queued = &queued;
  context.max_queued = config.overload.max_queued;
  adopt(std::move(config));
}

DataPath::~DataPath() {
  run();
  context.begin_drain();
  connections.drain();
  connections.close_all();
  context.close_all();
  run();
  CHECK(network.streams() == 0);
  CHECK(connections.size() == 0);
  CHECK(context.upstream_connections == 0);
  CHECK(queued == 0);
  for (const auto& [name, entry] : registry.services()) {
    for (const auto& upstream : entry.upstreams) {
      CHECK(upstream->connections()->used() == 0);
      CHECK(upstream->queued() == 0);
      CHECK_FALSE(upstream->connections()->has_waiters());
      CHECK(upstream->connections()->idle(0) == 0);
    }
  }
  for (const auto& [name, shared] : registry.caps()) CHECK(shared->used() == 0);
  CHECK(loop.close() == 0);
}

std::shared_ptr<Peer> DataPath::connect(std::string ip, bool trusted) {
  std::shared_ptr<Peer> peer;
  std::unique_ptr<Stream> stream = network.make(peer);
  DownstreamConnection::start(context, connections, traits, std::move(stream), std::move(ip), trusted);
  return peer;
}

void DataPath::pass_ms(uint64_t ms) {
  const uint64_t end_us = loop.now_us() + ms * 1000;
  run();
  while (loop.now_us() < end_us) {
    loop.set_time_us(std::min(end_us, loop.now_us() + TimerWheel::kTickMs * 1000));
    run();
  }
}

void DataPath::adopt(conf::Config config) {
  context.adopt(registry.build(config, {}, 0));
  loop.run_deferred();
}

void DataPath::set_split(conf::BasisPoints green) {
  balancer::Split& split = service().state->split();
  split.set({green, split.get().generation + 1});
}

void DataPath::trip() {
  service().state->set_tripped(true);
  context.redirect_waiters(service().upstreams[1].get());
  loop.run_deferred();
}

void DataPath::set_mode(conf::Colour colour, size_t endpoint, balancer::EndpointMode mode) {
  const auto i = static_cast<size_t>(colour);
  balancer::EndpointState& state = *service().endpoints[i].at(endpoint).state;
  balancer::EndpointCondition condition = state.condition();
  condition.mode = mode;
  state.set_condition(condition);
  service().upstreams[i]->bump_epoch();
  context.serve_caps_later();
  loop.run_deferred();
}

balancer::UpstreamCounters& DataPath::counters(conf::Colour colour) {
  return service().upstreams[static_cast<size_t>(colour)]->stats(0).counters;
}

balancer::Cap& DataPath::cap(conf::Colour colour) {
  return *service().upstreams[static_cast<size_t>(colour)]->connections();
}

std::string DataPath::ask(Peer& client, const std::string& request, const std::string& answer) {
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

std::string get(const std::string& target) {
  return "GET " + target + " HTTP/1.1\r\nHost: a\r\n\r\n";
}

std::string answer(int status, const std::string& body) {
  return "HTTP/1.1 " + std::to_string(status) + " X\r\nContent-Length: " + std::to_string(body.size()) +
         "\r\n\r\n" + body;
}

int status_of(const std::string& text) {
  return text.size() >= 12 && text.starts_with("HTTP/1.") ? std::stoi(text.substr(9, 3)) : 0;
}

std::string body_of(const std::string& text) {
  const size_t end = text.find("\r\n\r\n");
  return end == std::string::npos ? std::string{} : text.substr(end + 4);
}

bool contains(const std::string& text, std::string_view what) {
  return text.find(what) != std::string::npos;
}

std::string pattern(size_t size) {
  std::string result(size, '\0');
  for (size_t i = 0; i < size; ++i) result[i] = static_cast<char>('a' + i * 7 % 26 + (i / 26) % 2);
  return result;
}

}  // namespace sluice::proxy::test
