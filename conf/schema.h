// The schema: one table that lists each section and each key of the
// configuration once, and the generic walk over it.
//
// Everything that has to know the keys comes from here: reading a document
// (conf/reader.cc), unknown keys and range messages, the effective
// configuration (conf/render.cc), the reload diff (conf/diff.cc) and the
// reference (conf/reference.cc). To add a setting, add its member to config.h
// and its row to schema.cc.
//
//   Schema ── Node ""                      the file itself
//               ├── Node "admin"           [admin]
//               ├── Node "listener[]"      [[listener]]
//               │     └── Node "listener[].tls"
//               └── Node "service.*"       [service.NAME]
//                     ├── Node "service.*.blue"
//                     └── Node "service.*.green"   has the keys of blue
//
// A section knows how to make its object inside its parent's and how to visit
// the objects that are there; a key knows how to read and to write its member
// of that object. Objects are passed as untyped pointers with the tag of their
// type; schema.cc proves at compile time that the tags of each key and its
// section agree. The schema is immutable; any thread.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "conf/config.h"
#include "conf/types.h"
#include "conf/value.h"

namespace sluice::conf {

// When a change of a key takes effect in a running process.
enum class Applies : uint8_t {
  reload,       // at once, by `reload` or SIGHUP
  restart,      // in the next process: a restart or an upgrade by SIGUSR2
  first_start,  // only where state_dir holds nothing yet
};
constexpr const char* to_string(Applies applies) {
  constexpr const char* names[] = {"reload", "restart", "first start"};
  return names[static_cast<size_t>(applies)];
}

// The object of a section: of a list's entry that shares one object with its
// neighbours, `index` says which entry.
struct Object {
  void* at = nullptr;
  size_t index = 0;
};
struct ConstObject {
  const void* at = nullptr;
  size_t index = 0;
};

using Tag = const void*;  // one for each type of object

inline constexpr std::string_view kRequired = "(required)";

struct Key {
  std::string_view path;  // "service.*.timeouts.connect"
  struct Access {
    Tag owner;
    const TypeInfo* type;
    void (*read)(Object, const Value&, const Context&);
    std::string (*write)(ConstObject);  // "" where there is nothing to say
  } access;
  std::string_view fallback;  // the default as text; empty: none; or kRequired
  Range range;
  Applies applies;
  std::string_view help;
  bool secret = false;       // never shown
  std::string_view wants{};  // the key beside it without which it means nothing; empty: none

  std::string_view name() const;
};

struct Section {
  enum class Shape : uint8_t {
    one,          // [admin]; always there, or there once the section is written
    list,         // [[listener]]
    one_or_list,  // tls = {…}, or an array of tables
    named,        // [service.NAME]
  };
  using Visit = std::function<void(const std::string& name, ConstObject)>;

  std::string_view path;  // "service.*.timeouts"
  Shape shape;
  struct Access {
    Tag parent;
    Tag owner;
    // Makes the object, or finds the one that is always there.
    Object (*make)(Object parent, std::string_view name, Position);
    // Visits the objects that are there. `name` tells those of a list or of
    // names apart, also across a reload, and is empty for a single one.
    void (*each)(ConstObject parent, const Visit&);
  } access;
  Applies applies;  // adding or removing it
  std::string_view help;
  std::string_view keys_of{};  // the section whose keys it has; empty: its own

  // "timeouts"; "listener" and "service" for "listener[]" and "service.*".
  std::string_view name() const;
  // "[service.NAME.timeouts]", "[[listener]]".
  std::string heading() const;
};

struct Node {
  const Section* section = nullptr;
  std::vector<const Key*> keys;       // in the order of the table
  std::vector<const Node*> children;  // likewise

  const Key* find_key(std::string_view name) const;
  const Node* find_child(std::string_view name) const;
};

std::span<const Key> all_keys();
// Each section once, parents first; the first is the file itself.
std::span<const Node> all_nodes();
inline const Node& root_node() {
  return all_nodes().front();
}

}  // namespace sluice::conf
