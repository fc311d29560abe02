#include "balancer/saved_state.h"

#include "balancer/fields.h"

namespace sluice::balancer {
namespace {

constexpr std::string_view kServicePrefix = "service/";
constexpr std::string_view kFreezeKey = "freeze";

std::string key_of(const std::string& service) {
  return std::string(kServicePrefix) + service;
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
  return fields.take();
}

conf::Result<SavedService> decode_service(std::string_view bytes) {
  const conf::Result<FieldReader> fields = FieldReader::parse(bytes);
  if (!fields) return fields.error();
  const uint64_t green = fields->number("green", conf::kFullSplit + 1);
  if (green > conf::kFullSplit) {
    return conf::Error{conf::Error::Kind::invalid, conf::Error::Source::system, false,
                       "A saved split is over 100 %."};
  }
  SavedService state;
  state.green = static_cast<conf::BasisPoints>(green);
  state.generation = fields->number("generation");
  state.source = fields->text("source");
  state.since_unix_ms = static_cast<int64_t>(fields->number("since_unix_ms"));
  state.tripped = fields->number("tripped") != 0;
  state.trip_reason = fields->text("trip_reason");
  state.tripped_unix_ms = static_cast<int64_t>(fields->number("tripped_unix_ms"));
  state.rollout = fields->text("rollout");
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
      if (!service) return service.error();
      store->services_[key.substr(kServicePrefix.size())] = std::move(*service);
    } else if (key == kFreezeKey) {
      auto freeze = decode_freeze(value);
      if (!freeze) return freeze.error();
      store->freeze_ = std::move(*freeze);
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
