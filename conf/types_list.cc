// The types that are lists; see types.cc for the others.
#include <algorithm>
#include <span>

#include "conf/address.h"
#include "conf/edit_distance.h"
#include "conf/types.h"
#include "conf/units.h"

namespace sluice::conf {
namespace {

// "[a, b]" of the items' texts.
template <typename List, typename Write>
std::string write_list(const List& list, Write write) {
  std::string out = "[";
  for (const auto& item : list) out += (out.size() == 1 ? "" : ", ") + write(item);
  return out + "]";
}

std::string item_path(const Context& context, size_t index) {
  return context.path + "[" + std::to_string(index) + "]";
}

std::string quote_all(std::span<const std::string_view> words) {
  std::string out;
  for (const std::string_view word : words) out += (out.empty() ? "" : ", ") + quote(word);
  return out;
}

// A status code, or a class of them as in "5xx"; nothing for any other value.
std::optional<std::pair<uint16_t, uint16_t>> to_status_range(const Value& value) {
  if (value.kind == Value::Kind::integer && value.integer >= 100 && value.integer <= 599) {
    const auto code = static_cast<uint16_t>(value.integer);
    return std::pair{code, code};
  }
  const std::string& text = value.string;
  if (text.size() == 3 && text[0] >= '1' && text[0] <= '5' && text.ends_with("xx")) {
    const int first = (text[0] - '0') * 100;
    return std::pair{static_cast<uint16_t>(first), static_cast<uint16_t>(first + 99)};
  }
  return std::nullopt;
}

// Sets the flags of the words in an array and clears the others, or leaves all
// of them where an item is wrong. An item that is no such word is offered to
// `other`, which says whether it took it; `also` describes what it takes.
struct NamedFlag {
  std::string_view word;
  bool* flag;
};
template <typename Other>
bool read_words(const Value& value, const Context& context, std::span<const NamedFlag> flags,
                const std::string& also, Other other) {
  const std::vector<Value>* items = context.items(value);
  if (items == nullptr) return false;
  std::vector<std::string_view> known;
  for (const NamedFlag& named : flags) known.push_back(named.word);
  std::vector<std::string_view> found;
  bool good = true;
  for (const Value& item : *items) {
    if (std::find(known.begin(), known.end(), item.string) != known.end()) {
      found.push_back(item.string);
    } else if (!other(item)) {
      const std::string_view near = nearest(item.string, known);
      std::string problem = item.kind == Value::Kind::string ? quote(item.string) : describe(item.kind);
      problem += " is none of " + quote_all(known) + also;
      context.fail(item, problem, near.empty() ? "" : "did you mean " + quote(near) + "?");
      good = false;
    }
  }
  for (size_t i = 0; good && i < flags.size(); ++i) {
    *flags[i].flag = std::find(found.begin(), found.end(), known[i]) != found.end();
  }
  return good;
}

std::string write_words(std::initializer_list<std::pair<const char*, bool>> flags,
                        std::vector<std::string> more = {}) {
  std::vector<std::string> words;
  for (const auto& [word, set] : flags) {
    if (set) words.emplace_back(word);
  }
  words.insert(words.end(), more.begin(), more.end());
  return write_list(words, quote);
}

void read_weight(const Value& value, const Context& context, uint32_t& weight) {
  if (value.kind != Value::Kind::integer) return context.fail_kind(value, "a whole number as weight");
  if (value.integer < 1 || value.integer > EndpointsType::kMaxWeight) {
    return context.fail(value, "the weight " + std::to_string(value.integer) + " is out of range: 1 to " +
                                   std::to_string(EndpointsType::kMaxWeight));
  }
  weight = static_cast<uint32_t>(value.integer);
}

// { address = "…", weight = 2 }; gives the value of the address.
const Value* read_endpoint_table(const Value& table, const Context& context, uint32_t& weight) {
  static constexpr std::string_view kKeys[] = {"address", "weight"};
  const Value* address = nullptr;
  for (const Value::Member& member : table.members) {
    if (member.key == "address") {
      address = &member.value;
    } else if (member.key == "weight") {
      read_weight(member.value, context, weight);
    } else {
      const std::string_view near = nearest(member.key, kKeys);
      context.diagnostics.add(
          member.position, context.path + ": unknown key " + quote(member.key),
          near.empty() ? "an endpoint has \"address\" and \"weight\"" : "did you mean " + quote(near) + "?");
    }
  }
  if (address == nullptr) context.fail(table, "an endpoint has no \"address\"");
  return address;
}

}  // namespace

const TypeInfo StepsType::kInfo{
    "list of percentages",
    "Ascending, each above 0 and at most 100; at most 100 of them: `[10, 25, 50, 100]`."};
void StepsType::read(const Value& value, const Context& context, std::vector<BasisPoints>& out) {
  const std::vector<Value>* items = context.items(value);
  if (items == nullptr) return;
  if (items->empty()) return context.fail(value, "there is no step: write at least one, as in [100]");
  if (items->size() > kMaxRolloutSteps) {
    return context.fail(items->at(kMaxRolloutSteps), "there are " + std::to_string(items->size()) +
                                                         " steps: a rollout has at most " +
                                                         std::to_string(kMaxRolloutSteps));
  }
  std::vector<BasisPoints> steps;
  for (const Value& item : *items) {
    BasisPoints step = kFullSplit + 1;
    PercentType::read(item, context, step);
    if (step > kFullSplit) continue;
    if (step <= (steps.empty() ? 0 : steps.back())) {
      context.fail(item, format_percent(step) + " is not above " +
                             (steps.empty() ? "0" : "the step before it, " + format_percent(steps.back())) +
                             ": steps ascend");
      continue;
    }
    steps.push_back(step);
  }
  if (steps.size() == items->size()) out = std::move(steps);
}
std::string StepsType::write(const std::vector<BasisPoints>& steps) {
  return write_list(steps, format_percent);
}

const TypeInfo NetworksType::kInfo{"list of networks", "`[\"10.0.0.0/8\", \"::1\"]`."};
void NetworksType::read(const Value& value, const Context& context, std::vector<Network>& out) {
  const std::vector<Value>* items = context.items(value);
  if (items == nullptr) return;
  out.clear();
  for (const Value& item : *items) {
    const auto text = context.text(item);
    if (!text) continue;
    if (const auto network = context.take(item, parse_network(*text))) out.push_back(*network);
  }
}
std::string NetworksType::write(const std::vector<Network>& networks) {
  return write_list(networks, [](const Network& network) { return quote(to_string(network)); });
}

const TypeInfo HostsType::kInfo{"list of hosts", "Host names without ports, as `[\"proxy.internal\"]`."};
void HostsType::read(const Value& value, const Context& context, std::vector<std::string>& out) {
  const std::vector<Value>* items = context.items(value);
  if (items == nullptr) return;
  out.clear();
  for (const Value& item : *items) {
    const auto text = context.text(item);
    if (!text) continue;
    if (is_host_name(*text)) {
      out.emplace_back(*text);
    } else {
      context.fail(item, quote(*text) + " is not a host: write \"proxy.internal\", without a port");
    }
  }
}
std::string HostsType::write(const std::vector<std::string>& hosts) {
  return write_list(hosts, quote);
}

const TypeInfo EndpointsType::kInfo{
    "list of endpoints",
    "Addresses, or `{ address = \"10.0.0.5:8080\", weight = 2 }` with a weight from 1 to 1000. An address "
    "may also be "
    "`\"dns:app.svc:8080\"`, which stands for all that the name resolves to."};
void EndpointsType::read(const Value& value, const Context& context, std::vector<Endpoint>& out) {
  const std::vector<Value>* items = context.items(value);
  if (items == nullptr) return;
  if (items->empty()) return context.fail(value, "there is no endpoint: write at least one");
  out.clear();
  for (const Value& item : *items) {
    Endpoint endpoint;
    const Value* text_value = &item;
    if (item.kind == Value::Kind::table) text_value = read_endpoint_table(item, context, endpoint.weight);
    if (text_value == nullptr) continue;
    const auto text = context.text(*text_value);
    if (!text) continue;
    const auto address = context.take(*text_value, parse_address(*text));
    if (!address) continue;
    if (address->kind != Address::Kind::unix_socket && address->port == 0) {
      context.fail(*text_value, "port 0 cannot be connected to");
      continue;
    }
    endpoint.address = *address;
    context.positions[item_path(context, out.size())] = text_value->position;
    out.push_back(std::move(endpoint));
  }
}
std::string EndpointsType::write(const std::vector<Endpoint>& endpoints) {
  if (endpoints.empty()) return {};
  return write_list(endpoints, [](const Endpoint& endpoint) {
    std::string address = quote(endpoint.address.to_string());
    if (endpoint.weight == 1) return address;
    return "{ address = " + address + ", weight = " + std::to_string(endpoint.weight) + " }";
  });
}

const TypeInfo StatusType::kInfo{"status codes",
                                 "A code, a class, or an array of them: `200`, `\"2xx\"`, `[\"2xx\", 301]`."};
void StatusType::read(const Value& value, const Context& context, Ranges& out) {
  const std::span<const Value> items =
      value.kind == Value::Kind::array ? std::span(value.items) : std::span(&value, 1);
  if (items.empty()) return context.fail(value, "there is no status code: write at least one, as in [200]");
  if (items.size() > Context::kMaxItems) return context.fail(value, "the array has too many items");
  Ranges ranges;
  for (const Value& item : items) {
    if (const auto range = to_status_range(item)) {
      ranges.push_back(*range);
    } else {
      context.fail(item, "expected a status from 100 to 599 or a class such as \"2xx\"");
    }
  }
  if (ranges.size() == items.size()) out = std::move(ranges);
}
std::string StatusType::write(const Ranges& ranges) {
  return write_list(ranges, [](const std::pair<uint16_t, uint16_t>& range) {
    if (range.first == range.second) return std::to_string(range.first);
    return quote(std::to_string(range.first / 100) + "xx");
  });
}

const TypeInfo RetryOnType::kInfo{"retry conditions",
                                  "An array of `\"connect\"`, `\"reset\"` and status codes from 400 to 599."};
void RetryOnType::read(const Value& value, const Context& context, Retry& out) {
  const NamedFlag flags[] = {{"connect", &out.on_connect}, {"reset", &out.on_reset}};
  std::vector<uint16_t> codes;
  const bool good =
      read_words(value, context, flags, " and a status such as \"503\"", [&](const Value& item) {
        const std::optional<uint64_t> text = parse_unsigned(item.string);
        const int64_t code =
            item.kind == Value::Kind::integer ? item.integer : static_cast<int64_t>(text.value_or(0));
        if (code < 400 || code > 599) return false;
        codes.push_back(static_cast<uint16_t>(code));
        return true;
      });
  if (!good) return;
  std::sort(codes.begin(), codes.end());
  codes.erase(std::unique(codes.begin(), codes.end()), codes.end());
  out.on_status = std::move(codes);
}
std::string RetryOnType::write(const Retry& retry) {
  std::vector<std::string> codes;
  for (const uint16_t code : retry.on_status) codes.push_back(std::to_string(code));
  return write_words({{"connect", retry.on_connect}, {"reset", retry.on_reset}}, std::move(codes));
}

const TypeInfo TripOnType::kInfo{"trip conditions",
                                 "An array of `\"5xx\"`, `\"connect\"`, `\"reset\"` and `\"timeout\"`."};
void TripOnType::read(const Value& value, const Context& context, Trip& out) {
  const NamedFlag flags[] = {{"5xx", &out.on_5xx},
                             {"connect", &out.on_connect},
                             {"reset", &out.on_reset},
                             {"timeout", &out.on_timeout}};
  read_words(value, context, flags, "", [](const Value&) { return false; });
}
std::string TripOnType::write(const Trip& trip) {
  return write_words({{"5xx", trip.on_5xx},
                      {"connect", trip.on_connect},
                      {"reset", trip.on_reset},
                      {"timeout", trip.on_timeout}});
}

const TypeInfo MembersType::kInfo{"list of upstreams", "`[\"web/blue\", \"web/green\"]`."};
void MembersType::read(const Value& value, const Context& context, std::vector<Cap::Member>& out) {
  const std::vector<Value>* items = context.items(value);
  if (items == nullptr) return;
  if (items->empty())
    return context.fail(value, "there is no member: write at least one, as in [\"web/blue\"]");
  out.clear();
  for (const Value& item : *items) {
    const auto text = context.text(item);
    if (!text) continue;
    const size_t slash = std::min(text->find('/'), text->size());
    const std::string_view colour = text->substr(slash);
    if (!NameType::is_name(text->substr(0, slash)) || (colour != "/blue" && colour != "/green")) {
      context.fail(item, quote(*text) + " is not an upstream: write \"SERVICE/blue\" or \"SERVICE/green\"");
      continue;
    }
    context.positions[item_path(context, out.size())] = item.position;
    out.push_back({std::string(text->substr(0, slash)), colour == "/blue" ? Colour::blue : Colour::green});
  }
}
std::string MembersType::write(const std::vector<Cap::Member>& members) {
  return write_list(members, [](const Cap::Member& member) {
    return quote(member.service + "/" + to_string(member.colour));
  });
}

}  // namespace sluice::conf
