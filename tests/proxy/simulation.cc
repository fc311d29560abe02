#include "simulation.h"

#include <uv.h>

#include <algorithm>

namespace sluice::proxy::test {

using conf::Colour;

namespace {

std::string answer_body(uint32_t id, size_t size) {
  std::string body = "<" + std::to_string(id) + ">";
  const std::string once = body;
  while (body.size() < size) body += once;
  body.resize(size);
  return body;
}

std::string chunked(const std::string& body, balancer::Random& random) {
  std::string text;
  for (size_t at = 0; at < body.size();) {
    const size_t size = std::min(body.size() - at, 1 + random.below(3000));
    char line[16];
    text.append(line, static_cast<size_t>(snprintf(line, sizeof(line), "%zx\r\n", size)));
    text.append(body, at, size).append("\r\n");
    at += size;
  }
  return text + "0\r\n\r\n";
}

size_t random_size(balancer::Random& random) {
  switch (random.below(40)) {
    case 0:
      return random.below(400'000);
    case 1:
    case 2:
      return random.below(40'000);
    default:
      return random.below(200);
  }
}

}  // namespace

conf::Config Simulation::random_config(balancer::Random& random) {
  conf::Config config = one_service(static_cast<uint32_t>(1 + random.below(3)));
  conf::Service& service = web(config);
  service.timeouts = {60, 80, 100, 0, 90, 120, 70};
  if (random.below(3) == 0) service.timeouts.request_ms = 300;
  if (random.below(3) == 0) service.trip.slow_ms = 50;
  if (random.below(2) == 0) service.retry.on_status = {503};
  service.retry.max = static_cast<uint32_t>(random.below(4));
  service.rescue = random.below(2) == 0;
  service.override_header = random.below(2) == 0 ? "x-up" : "";
  service.sticky.kind = random.below(3) == 0 ? conf::Sticky::Kind::client_ip : conf::Sticky::Kind::none;
  service.split = static_cast<conf::BasisPoints>(random.below(5) * 2500);
  service.outlier.enabled = random.below(3) == 0;
  for (conf::Upstream& upstream : service.upstreams) {
    upstream.max_connections = static_cast<uint32_t>(random.below(5));
    upstream.max_queue = static_cast<uint32_t>(random.below(6));
    upstream.queue_timeout_ms = 50;
    upstream.balance = static_cast<conf::Balance>(random.below(3));
  }
  if (random.below(2) == 0) {
    conf::Cap cap;
    cap.name = "database";
    cap.members = {{"web", Colour::blue}, {"web", Colour::green}};
    cap.max_connections = static_cast<uint32_t>(1 + random.below(4));
    config.caps.emplace("database", cap);
  }
  return config;
}

Simulation::Simulation(uint64_t seed) : random_(seed), config_(random_config(random_)), path_(config_, seed) {
  path_.dialer.connects = false;
}

void Simulation::run(int steps) {
  for (int i = 0; i < steps; ++i) {
    max_before_[0] = path_.cap(Colour::blue).max();
    max_before_[1] = path_.cap(Colour::green).max();
    const auto& caps = path_.registry.caps();
    shared_before_ = caps.empty() ? balancer::Cap::kUnlimited : caps.begin()->second->max();
    tripped_before_ = path_.service().state->tripped();
    step();
    settle();
    check();
  }
  finish();
}

void Simulation::step() {
  switch (random_.below(16)) {
    case 0:
    case 1:
      path_.loop.set_time_us(path_.loop.now_us() + 1000 * random_.below(chance(8) ? 150 : 12));
      break;
    case 2:
      operator_step();
      break;
    case 3:
    case 4:
    case 5:
    case 6:
    case 7:
      client_step();
      break;
    default:
      origin_step();
      break;
  }
}

// Lets all that was caused happen, or only a part of it.
void Simulation::settle() {
  if (!chance(4)) {
    path_.run();
  } else {
    for (uint64_t i = random_.below(4); i > 0; --i) path_.network.step();
    path_.loop.run_deferred();
  }
  meet_origins();
}

// Whoever was dialled meanwhile is an origin.
void Simulation::meet_origins() {
  for (size_t i = origins_.size(); i < path_.dials(); ++i) {
    Origin origin;
    origin.peer = path_.dialer.dialled[i];
    const std::string& name = origin.peer->name();  // "10.0.0.N:80": odd is blue
    origin.green = (name[name.find(':') - 1] - '0') % 2 == 0;
    if (chance(5)) origin.peer->set_room(random_.below(2000));
    if (chance(3)) origin.peer->read_size = 1 + random_.below(3000);
    origins_.push_back(std::move(origin));
  }
}

void Simulation::new_client() {
  Client client;
  client.peer = path_.connect("192.0.2." + std::to_string(1 + random_.below(20)), chance(5));
  if (chance(4)) client.peer->set_room(random_.below(2000));
  if (chance(3)) client.peer->read_size = 1 + random_.below(3000);
  clients_.push_back(std::move(client));
}

void Simulation::ask(Client& client) {
  static const char* const kMethods[] = {"GET", "GET", "GET", "PUT", "POST", "HEAD", "DELETE"};
  Request request;
  request.id = next_id_++;
  request.method = kMethods[random_.below(std::size(kMethods))];
  request.old_version = chance(10);
  request.malformed = chance(60);
  const std::string id = std::to_string(request.id);
  std::string text = request.method + " /" + id + (request.old_version ? " HTTP/1.0\r\n" : " HTTP/1.1\r\n");
  text += "Host: a\r\nX-Id: " + id + "\r\n";
  if (request.malformed) text += "Bad Name: x\r\n";
  if (chance(8)) text += std::string("X-Up: ") + (chance(2) ? "green" : "blue") + "\r\n";
  if (chance(12)) text += "Connection: close\r\n";
  if (request.old_version && chance(2)) text += "Connection: keep-alive\r\n";
  const bool has_body = request.method == "PUT" || request.method == "POST";
  if (has_body) request.body = answer_body(request.id, random_size(random_));
  if (has_body && !request.old_version && chance(2)) {
    text += "Transfer-Encoding: chunked\r\n\r\n" + chunked(request.body, random_);
  } else if (has_body) {
    text += "Content-Length: " + std::to_string(request.body.size()) + "\r\n\r\n" + request.body;
  } else {
    text += "\r\n";
  }
  bodies_[request.id] = request.body;
  methods_[request.id] = request.method;
  client.to_send += text;
  client.asked.push_back(std::move(request));
}

void Simulation::client_step() {
  std::erase_if(clients_, [](const Client& one) { return !one.peer->alive(); });
  if (clients_.empty() || (clients_.size() < 6 && chance(4))) new_client();
  Client& client = clients_[random_.below(clients_.size())];
  if (!client.peer->open()) return;
  switch (random_.below(24)) {
    case 0:
      client.peer->end();
      client.left = true;
      return;
    case 1:
      client.peer->fail(UV_ECONNRESET);
      client.left = true;
      return;
    case 2:
    case 3:
    case 4:
    case 5:
      client.peer->take(random_.below(100'000));
      return;
    case 6:
      client.peer->set_room(Peer::kAll);
      return;
    default:
      break;
  }
  if (client.left) return;
  if (client.to_send.empty() || chance(8)) ask(client);
  const size_t size = chance(3) ? 1 + random_.below(client.to_send.size()) : client.to_send.size();
  client.peer->send(client.to_send.substr(0, size));
  client.to_send.erase(0, size);
}

void Simulation::origin_step() {
  std::vector<Origin*> open;
  for (Origin& origin : origins_) {
    if (origin.peer->open()) open.push_back(&origin);
  }
  if (open.empty()) return client_step();
  Origin& origin = *open[random_.below(open.size())];
  if (!origin.was_connected) {
    origin.was_connected = true;
    origin.peer->connect(chance(6) ? UV_ECONNREFUSED : 0);
    return;
  }
  origin.peer->take(random_.below(60'000));
  if (origin.peer->saw_end() && !chance(3)) {
    origin.peer->end();
    origin.spoilt = true;
    return;
  }
  if (chance(30)) {
    // An orderly end would complete a body that ends with its connection.
    if (!origin.until_close && chance(2)) {
      origin.peer->end();
    } else {
      origin.peer->fail(UV_ECONNRESET);
    }
    origin.spoilt = true;
    return;
  }
  if (!origin.answering && !origin.spoilt) {
    const WireMessage request = read_message(origin.peer->received(), WireKind::request);
    const bool early = request.has_head() && chance(20);
    if (request.state != WireMessage::State::complete && !early) return;
    begin_answer(origin, methods_[origin.id]);
  }
  if (origin.to_send.empty()) return;
  const size_t size = chance(2) ? 1 + random_.below(origin.to_send.size()) : origin.to_send.size();
  origin.peer->send(origin.to_send.substr(0, size));
  origin.to_send.erase(0, size);
  if (!origin.to_send.empty()) return;
  origin.answered = true;
  if (origin.ends) origin.peer->end();
  if (origin.resets) origin.peer->fail(UV_ECONNRESET);
}

void Simulation::begin_answer(Origin& origin, const std::string& method) {
  origin.answering = true;
  if (chance(25)) {
    origin.to_send = chance(2) ? "no HTTP at all\r\n\r\n" : "HTTP/1.1 200 OK\nX: 1\n\n";
    origin.spoilt = true;
    return;
  }
  static const int kStatuses[] = {200, 200, 200, 200, 200, 404, 500, 503, 204, 304};
  const int status = kStatuses[random_.below(std::size(kStatuses))];
  const size_t size = status == 204 || status == 304 ? 0 : random_size(random_);
  const std::string body = answer_body(origin.id, size);
  std::string text;
  if (chance(10)) text += "HTTP/1.1 103 Early\r\nLink: x\r\n\r\n";
  text += "HTTP/1.1 " + std::to_string(status) + " X\r\nX-Id: " + std::to_string(origin.id) +
          "\r\nX-Size: " + std::to_string(size) + "\r\n";
  const bool bare = method == "HEAD" || status == 204 || status == 304;
  switch (random_.below(5)) {
    case 0:
      text += "Transfer-Encoding: chunked\r\n\r\n" + (bare ? std::string{} : chunked(body, random_));
      break;
    case 1:
      text += "Connection: close\r\n\r\n" + (bare ? std::string{} : body);
      origin.ends = origin.until_close = true;
      break;
    default:
      if (chance(6)) text += "Connection: close\r\n";
      if (status != 204) text += "Content-Length: " + std::to_string(size) + "\r\n";
      text += "\r\n" + (bare ? std::string{} : body);
  }
  if (chance(12)) {  // breaks off somewhere
    text.resize(random_.below(text.size()));
    // By a reset: an orderly end would look like the body's where it has no length.
    origin.resets = true;
    origin.ends = false;
    origin.spoilt = true;
  } else if (!origin.ends && chance(30)) {
    // Behind the end of the answer; where the end is the connection's, or never
    // came, it would be part of the body.
    text += "and more";
    origin.spoilt = true;
  }
  origin.to_send = text;
}

void Simulation::operator_step() {
  switch (random_.below(7)) {
    case 0:
      path_.set_split(static_cast<conf::BasisPoints>(random_.below(conf::kFullSplit + 1)));
      return;
    case 1:
      path_.trip();
      return;
    case 2:
      path_.service().state->set_tripped(false);
      return;
    case 3: {
      const Colour colour = conf::kColours[random_.below(2)];
      const size_t count = path_.service().endpoints[static_cast<size_t>(colour)].size();
      path_.set_mode(colour, random_.below(count), static_cast<balancer::EndpointMode>(random_.below(3)));
      return;
    }
    case 4: {
      const auto max = static_cast<uint32_t>(1 + random_.below(5));
      path_.cap(conf::kColours[random_.below(2)]).set_max(max);
      return;
    }
    case 5: {
      path_.service().state->set_maintenance(chance(4));
      return;
    }
    default: {
      conf::Config next = random_config(random_);
      next.caps = config_.caps;
      for (auto& [name, cap] : next.caps) cap.max_connections = static_cast<uint32_t>(1 + random_.below(4));
      path_.adopt(next);
    }
  }
}

size_t Simulation::living(bool green) const {
  size_t count = 0;
  for (const Origin& origin : origins_) count += origin.green == green && origin.peer->alive() ? 1 : 0;
  return count;
}

}  // namespace sluice::proxy::test
