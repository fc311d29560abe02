// Which of the two an exchange goes to: by the lot, by what sticks, by the
// override, and by the latch, which comes before all of them.
#include "balancer/hash.h"
#include "balancer/split.h"
#include "proxy/exchange.h"

namespace sluice::proxy {

using conf::Colour;

Colour Exchange::choose_colour() {
  balancer::ServiceState& state = *service_->plan->state;
  const balancer::Split::Value split = state.split().get();
  generation_ = split.generation;
  UpstreamPool& green = *service_->pools[static_cast<size_t>(Colour::green)];
  const Field* const override_field =
      conf().override_header.empty() ? nullptr : head_.fields.find(conf().override_header);
  tells_who_ = override_field != nullptr;
  if (!conf().has_green || state.tripped() || !green.has_usable_endpoint()) return Colour::blue;
  if (tells_who_) {
    const std::string_view wish = head_.fields.value(*override_field);
    if (wish == "green") return Colour::green;
    if (wish == "blue") return Colour::blue;
  }
  by_lot_ = true;
  if (split.green == 0) return Colour::blue;
  std::string_view key;
  const uint64_t number =
      read_sticky_key(key) ? balancer::sticky_hash(key, state.name()) : context_.loop.random().next();
  return balancer::falls_on_green(number, split.green) ? Colour::green : Colour::blue;
}

namespace {

// The value of a cookie, or an empty view (RFC 6265, 4.2.1).
std::string_view find_cookie(std::string_view cookies, std::string_view name) {
  while (!cookies.empty()) {
    const size_t end = cookies.find(';');
    std::string_view pair = cookies.substr(0, end);
    cookies = end == std::string_view::npos ? std::string_view{} : cookies.substr(end + 1);
    while (pair.starts_with(' ')) pair.remove_prefix(1);
    if (pair.size() > name.size() && pair.starts_with(name) && pair[name.size()] == '=') {
      return pair.substr(name.size() + 1);
    }
  }
  return {};
}

}  // namespace

// False: the request has none, and falls by chance.
bool Exchange::read_sticky_key(std::string_view& key) const {
  const conf::Sticky& sticky = conf().sticky;
  switch (sticky.kind) {
    case conf::Sticky::Kind::none:
      return false;
    case conf::Sticky::Kind::client_ip:
      key = downstream_->client_ip();
      break;
    case conf::Sticky::Kind::header:
      if (const Field* field = head_.fields.find(sticky.name); field != nullptr)
        key = head_.fields.value(*field);
      break;
    case conf::Sticky::Kind::cookie:
      for (const Field& field : head_.fields.all()) {
        if (field.id == FieldId::cookie && key.empty())
          key = find_cookie(head_.fields.value(field), sticky.name);
      }
      break;
  }
  return !key.empty();
}

// Green may have been tripped since the request was given to it.
bool Exchange::is_latched() const {
  return colour_ == Colour::green && service_->plan->state->tripped();
}

void Exchange::mind_the_latch() {
  if (!is_latched()) return;
  become(Colour::blue);
  by_lot_ = false;
}

// The other upstream's queue is another: nothing was waited there yet.
void Exchange::become(Colour colour) {
  if (colour == colour_) return;
  colour_ = colour;
  pool_ = service_->pools[static_cast<size_t>(colour)];
  waiting_since_us_ = waited_us_ = 0;
}

}  // namespace sluice::proxy
