// The bindings of the schema's rows to the members of the configuration:
// templates that turn a pointer to member into a row's access functions.
//
// Only schema.cc includes this. See conf/schema.h for what the functions of
// Key::Access and Section::Access promise.
#pragma once

#include <string>
#include <string_view>

#include "conf/schema.h"

namespace sluice::conf {

// The address of a variable of its own is what tells a type from others.
template <typename T>
inline constexpr char kTagOf = 0;
template <typename T>
constexpr Tag tag() {
  return &kTagOf<T>;
}

template <typename T>
T& as(Object object) {
  return *static_cast<T*>(object.at);
}
template <typename T>
const T& as(ConstObject object) {
  return *static_cast<const T*>(object.at);
}

// The types that a pointer to member names.
template <auto Member>
struct MemberOf;
template <typename Owner_, typename Type_, Type_ Owner_::*Member>
struct MemberOf<Member> {
  using Owner = Owner_;
  using Type = Type_;
};

// ---- keys

template <auto Member, typename Type>
constexpr Key::Access member() {
  using Owner = typename MemberOf<Member>::Owner;
  return {tag<Owner>(), &Type::kInfo,
          [](Object object, const Value& value, const Context& context) {
            Type::read(value, context, as<Owner>(object).*Member);
          },
          [](ConstObject object) { return Type::write(as<Owner>(object).*Member); }};
}

// A key that stands for several members.
template <typename Owner, typename Type>
constexpr Key::Access whole() {
  return {tag<Owner>(), &Type::kInfo,
          [](Object object, const Value& value, const Context& context) {
            Type::read(value, context, as<Owner>(object));
          },
          [](ConstObject object) { return Type::write(as<Owner>(object)); }};
}

// Of the key pair that the object's index names.
template <auto Member>
constexpr Key::Access pair_member() {
  return {tag<TlsServer>(), &TextType::kInfo,
          [](Object object, const Value& value, const Context& context) {
            TextType::read(value, context, as<TlsServer>(object).pairs[object.index].*Member);
          },
          [](ConstObject object) { return as<TlsServer>(object).pairs[object.index].*Member; }};
}

// Of all key pairs together: read from and written to the first entry only.
template <auto Member, typename Type>
constexpr Key::Access shared_member() {
  return {tag<TlsServer>(), &Type::kInfo,
          [](Object object, const Value& value, const Context& context) {
            if (object.index != 0)
              return context.fail(value, "this holds for all key pairs: move it to the first");
            Type::read(value, context, as<TlsServer>(object).*Member);
          },
          [](ConstObject object) {
            return object.index != 0 ? std::string() : Type::write(as<TlsServer>(object).*Member);
          }};
}

// ---- sections

constexpr Section::Access root() {
  return {tag<Config>(), tag<Config>(), [](Object parent, std::string_view, Position) { return parent; },
          [](ConstObject parent, const Section::Visit& visit) { visit("", parent); }};
}

// There whether it is written or not.
template <auto Member>
constexpr Section::Access always() {
  using Owner = typename MemberOf<Member>::Owner;
  return {tag<Owner>(), tag<typename MemberOf<Member>::Type>(),
          [](Object parent, std::string_view, Position) { return Object{&(as<Owner>(parent).*Member)}; },
          [](ConstObject parent, const Section::Visit& visit) {
            visit("", ConstObject{&(as<Owner>(parent).*Member)});
          }};
}

// There once it is written; a flag says so.
template <auto Member>
constexpr Section::Access enabled() {
  using Owner = typename MemberOf<Member>::Owner;
  return {tag<Owner>(), tag<typename MemberOf<Member>::Type>(),
          [](Object parent, std::string_view, Position) {
            auto& section = as<Owner>(parent).*Member;
            section.enabled = true;
            return Object{&section};
          },
          [](ConstObject parent, const Section::Visit& visit) {
            const auto& section = as<Owner>(parent).*Member;
            if (section.enabled) visit("", ConstObject{&section});
          }};
}

// There once it is written; a std::optional.
template <auto Member>
constexpr Section::Access once() {
  using Owner = typename MemberOf<Member>::Owner;
  return {tag<Owner>(), tag<typename MemberOf<Member>::Type::value_type>(),
          [](Object parent, std::string_view, Position) {
            return Object{&(as<Owner>(parent).*Member).emplace()};
          },
          [](ConstObject parent, const Section::Visit& visit) {
            const auto& section = as<Owner>(parent).*Member;
            if (section) visit("", ConstObject{&*section});
          }};
}

// A map from names to objects that know their name and position.
template <auto Member>
constexpr Section::Access named() {
  using Owner = typename MemberOf<Member>::Owner;
  return {tag<Owner>(), tag<typename MemberOf<Member>::Type::mapped_type>(),
          [](Object parent, std::string_view name, Position position) {
            auto& object = (as<Owner>(parent).*Member)[std::string(name)];
            object.name = name;
            object.position = position;
            return Object{&object};
          },
          [](ConstObject parent, const Section::Visit& visit) {
            for (const auto& [name, object] : as<Owner>(parent).*Member) visit(name, ConstObject{&object});
          }};
}

template <Colour colour>
constexpr Section::Access upstream() {
  constexpr auto kIndex = static_cast<size_t>(colour);
  return {tag<Service>(), tag<Upstream>(),
          [](Object parent, std::string_view, Position position) {
            auto& service = as<Service>(parent);
            if (colour == Colour::green) service.has_green = true;
            service.upstreams[kIndex].position = position;
            return Object{&service.upstreams[kIndex]};
          },
          [](ConstObject parent, const Section::Visit& visit) {
            const auto& service = as<Service>(parent);
            if (colour == Colour::blue || service.has_green)
              visit("", ConstObject{&service.upstreams[kIndex]});
          }};
}

constexpr Section::Access listeners() {
  return {tag<Config>(), tag<Listener>(),
          [](Object parent, std::string_view, Position position) {
            Listener& listener = as<Config>(parent).listeners.emplace_back();
            listener.position = position;
            return Object{&listener};
          },
          [](ConstObject parent, const Section::Visit& visit) {
            for (const Listener& listener : as<Config>(parent).listeners) {
              visit(listener.bind.to_string(), ConstObject{&listener});
            }
          }};
}

constexpr Section::Access routes() {
  return {tag<Config>(), tag<Route>(),
          [](Object parent, std::string_view, Position position) {
            Route& route = as<Config>(parent).routes.emplace_back();
            route.path = "/";
            route.position = position;
            return Object{&route};
          },
          [](ConstObject parent, const Section::Visit& visit) {
            for (const Route& route : as<Config>(parent).routes) {
              visit(route.host + route.path, ConstObject{&route});
            }
          }};
}

constexpr Section::Access key_pairs() {
  return {tag<Listener>(), tag<TlsServer>(),
          [](Object parent, std::string_view, Position) {
            auto& tls = as<Listener>(parent).tls;
            if (!tls) tls.emplace();
            tls->pairs.emplace_back();
            return Object{&*tls, tls->pairs.size() - 1};
          },
          [](ConstObject parent, const Section::Visit& visit) {
            const auto& tls = as<Listener>(parent).tls;
            for (size_t i = 0; tls && i < tls->pairs.size(); ++i)
              visit(std::to_string(i), ConstObject{&*tls, i});
          }};
}

}  // namespace sluice::conf
