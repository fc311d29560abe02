#include "balancer/saved_state.h"

#include <algorithm>
#include <initializer_list>
#include <utility>

#include "balancer/fields.h"

namespace sluice::balancer {
namespace {

constexpr std::string_view kFreezeKey = "freeze";

std::string key_of(const std::string& service) {
  return std::string(StateStore::kServicePrefix) + service;
}

conf::Error unreadable(std::string what) {
  return {conf::Error::Kind::invalid, conf::Error::Source::system, false, std::move(what)};
}

// What operators set. Numbers are one more than what they stand for; one that is
// not there is not set. Modes are lines of COLOUR MODE ENDPOINT.
constexpr const char* kMaintenance = "maintenance";
constexpr const char* kMaxConnections[] = {"max_connections_blue", "max_connections_green"};
constexpr const char* kModes = "modes";

void encode(const ByHand& by_hand, FieldWriter& fields) {
  if (by_hand.maintenance) fields.number(kMaintenance, *by_hand.maintenance ? 2 : 1);
  std::string modes;
  for (const conf::Colour colour : conf::kColours) {
    const auto i = static_cast<size_t>(colour);
    if (by_hand.max_connections[i]) {
      fields.number(kMaxConnections[i], uint64_t{*by_hand.max_connections[i]} + 1);
    }
    for (const auto& [endpoint, mode] : by_hand.modes[i]) {
      modes += std::string(conf::to_string(colour)) + " " + to_string(mode) + " " + endpoint + "\n";
    }
  }
  if (!modes.empty()) fields.text(kModes, modes);
}

// The word up to the next blank, or what is left.
std::string_view take_word(std::string_view& rest) {
  const std::string_view word = rest.substr(0, rest.find(' '));
  rest.remove_prefix(std::min(word.size() + 1, rest.size()));
  return word;
}

template <typename Value>
std::optional<Value> named(std::string_view word, std::initializer_list<Value> values) {
  for (const Value value : values) {
    if (word == to_string(value)) return value;
  }
  return std::nullopt;
}

conf::Result<ByHand> decode_by_hand(const FieldReader& fields) {
  ByHand by_hand;
  if (const uint64_t word = fields.number(kMaintenance); word > 0) by_hand.maintenance = word == 2;
  for (size_t i = 0; i < 2; ++i) {
    if (const uint64_t max = fields.number(kMaxConnections[i]); max > 0) {
      by_hand.max_connections[i] = static_cast<uint32_t>(max - 1);
    }
  }
  const std::string modes = fields.text(kModes);
  for (std::string_view rest = modes; !rest.empty();) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    const auto colour = named(take_word(line), {conf::Colour::blue, conf::Colour::green});
    const auto mode = named(take_word(line), {EndpointMode::drain, EndpointMode::maint});
    if (!colour || !mode || line.empty()) return unreadable("A saved mode of an endpoint is unknown.");
    by_hand.modes[static_cast<size_t>(*colour)][std::string(line)] = *mode;
  }
  return by_hand;
}

}  // namespace

std::string encode(const SavedService& state) {
  FieldWriter fields;
  fields.number("green", state.green);
  fields.number("generation", state.generation);
  fields.text("source", state.source);
  fields.number("since_unix_ms", static_cast<uint64_t>(state.since_unix_ms));
  fields.number("tripped", state.tripped ? 1 : 0);
  fields.text("trip_reason", state.trip_reason);
  fields.number("tripped_unix_ms", static_cast<uint64_t>(state.tripped_unix_ms));
  fields.text("rollout", state.rollout);
  encode(state.by_hand, fields);
  fields.number("blue_attempts", state.blue.attempts);
  fields.number("blue_errors", state.blue.errors);
  return fields.take();
}

conf::Result<SavedService> decode_service(std::string_view bytes) {
  const conf::Result<FieldReader> fields = FieldReader::parse(bytes);
  if (!fields) return fields.error();
  const uint64_t green = fields->number("green", conf::kFullSplit + 1);
  if (green > conf::kFullSplit) return unreadable("A saved split is over 100 %.");
  conf::Result<ByHand> by_hand = decode_by_hand(*fields);
  if (!by_hand) return by_hand.error();
  SavedService state;
  state.green = static_cast<conf::BasisPoints>(green);
  state.generation = fields->number("generation");
  state.source = fields->text("source");
  state.since_unix_ms = static_cast<int64_t>(fields->number("since_unix_ms"));
  state.tripped = fields->number("tripped") != 0;
  state.trip_reason = fields->text("trip_reason");
  state.tripped_unix_ms = static_cast<int64_t>(fields->number("tripped_unix_ms"));
  state.rollout = fields->text("rollout");
  state.by_hand = std::move(*by_hand);
  state.blue = {fields->number("blue_attempts"), fields->number("blue_errors")};
  return state;
}

std::string encode(const SavedFreeze& freeze) {
  FieldWriter fields;
  fields.number("on", freeze.on ? 1 : 0);
  fields.text("reason", freeze.reason);
  fields.number("since_unix_ms", static_cast<uint64_t>(freeze.since_unix_ms));
  return fields.take();
}

conf::Result<SavedFreeze> decode_freeze(std::string_view bytes) {
  const conf::Result<FieldReader> fields = FieldReader::parse(bytes);
  if (!fields) return fields.error();
  return SavedFreeze{fields->number("on") != 0, fields->text("reason"),
                     static_cast<int64_t>(fields->number("since_unix_ms"))};
}

conf::Result<std::unique_ptr<StateStore>> StateStore::open(FileSystem& files, std::string directory) {
  auto journal = Journal::open(files, std::move(directory));
  if (!journal) return journal.error();
  std::unique_ptr<StateStore> store(new StateStore(std::move(journal.value())));
  for (const auto& [key, value] : store->journal_->entries()) {
    if (key.starts_with(kServicePrefix)) {
      auto service = decode_service(value);
      if (service) {
        store->services_[key.substr(kServicePrefix.size())] = std::move(*service);
      } else {
        store->unreadable_.push_back(key);
      }
    } else if (key == kFreezeKey) {
      auto freeze = decode_freeze(value);
      if (freeze) {
        store->freeze_ = std::move(*freeze);
      } else {
        store->freeze_ = {true, "whether a freeze was on could not be read", 0};
        store->unreadable_.push_back(key);
      }
    }
  }
  return store;
}

conf::Status StateStore::save(const std::string& service, const SavedService& state) {
  // One change may be saved by each who had a part in it; the disk need not turn
  // twice for that.
  if (const auto kept = services_.find(service);
      kept != services_.end() && kept->second == state && !failing()) {
    return conf::Done{};
  }
  if (conf::Status kept = journal_->put(key_of(service), encode(state)); !kept) return kept;
  services_[service] = state;
  return conf::Done{};
}

conf::Status StateStore::forget(const std::string& service) {
  if (conf::Status kept = journal_->erase(key_of(service)); !kept) return kept;
  services_.erase(service);
  return conf::Done{};
}

conf::Status StateStore::save_freeze(const SavedFreeze& freeze) {
  if (conf::Status kept = journal_->put(std::string(kFreezeKey), encode(freeze)); !kept) return kept;
  freeze_ = freeze;
  return conf::Done{};
}

}  // namespace sluice::balancer
