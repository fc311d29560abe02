#include "conf/reader.h"

#include <algorithm>
#include <string>

#include "conf/edit_distance.h"
#include "conf/schema.h"
#include "conf/units.h"

namespace sluice::conf {
namespace {

using Shape = Section::Shape;

std::string join(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : path + "." + std::string(name);
}

class Reader {
 public:
  Reader(Completeness completeness, Diagnostics& diagnostics, Positions& positions)
      : completeness_(completeness), diagnostics_(diagnostics), positions_(positions) {}

  void read_table(const Node& node, Object object, const Value& table, const std::string& path) {
    for (const Value::Member& member : table.members) {
      if (diagnostics_.full()) return;
      if (const Key* key = node.find_key(member.key)) {
        read_key(*key, object, member.value, join(path, member.key));
      } else if (const Node* child = node.find_child(member.key)) {
        read_section(*child, object, member.value, join(path, member.key));
      } else {
        report_unknown(node, member, path);
      }
    }
    if (completeness_ == Completeness::whole) report_missing(node, table, path);
  }

 private:
  void read_key(const Key& key, Object object, const Value& value, const std::string& path) {
    positions_[path] = value.position;
    key.access.read(object, value, {path, key.range, *key.access.type, diagnostics_, positions_});
  }

  void read_section(const Node& node, Object parent, const Value& value, const std::string& path) {
    positions_[path] = value.position;
    switch (node.section->shape) {
      case Shape::one:
        return read_one(node, parent, "", value, path);
      case Shape::list:
        return read_list(node, parent, value, path);
      case Shape::named:
        return read_named(node, parent, value, path);
      case Shape::one_or_list:
        if (value.kind == Value::Kind::array) return read_list(node, parent, value, path);
        return read_one(node, parent, "", value, path);
    }
  }

  void read_one(const Node& node, Object parent, std::string_view name, const Value& value,
                const std::string& path) {
    if (value.kind != Value::Kind::table)
      return fail_kind(value, path, "a table, as in " + node.section->heading());
    read_table(node, node.section->access.make(parent, name, value.position), value, path);
  }

  void read_list(const Node& node, Object parent, const Value& value, const std::string& path) {
    if (value.kind != Value::Kind::array) {
      return fail_kind(value, path, "an array of tables: write " + node.section->heading());
    }
    if (value.items.empty()) diagnostics_.add(value.position, path + ": the array is empty");
    size_t index = 0;  // of the objects made
    for (const Value& item : value.items) {
      const std::string item_path = path + "[" + std::to_string(index) + "]";
      if (item.kind == Value::Kind::table) ++index;
      read_one(node, parent, "", item, item_path);
    }
  }

  void read_named(const Node& node, Object parent, const Value& value, const std::string& path) {
    if (value.kind != Value::Kind::table)
      return fail_kind(value, path, "tables, as in " + node.section->heading());
    if (value.members.empty()) {
      diagnostics_.add(value.position, path + ": there is no name: write " + node.section->heading());
    }
    for (const Value::Member& member : value.members) {
      if (NameType::is_name(member.key)) {
        read_one(node, parent, member.key, member.value, join(path, member.key));
      } else {
        diagnostics_.add(member.position,
                         path + ": " + quote(member.key) + " is not a name: use 1 to 64 of A-Z a-z 0-9 _ -");
      }
    }
  }

  void fail_kind(const Value& value, const std::string& path, const std::string& expected) {
    diagnostics_.add(value.position, path + ": expected " + expected + "; found " + describe(value.kind));
  }

  void report_unknown(const Node& node, const Value::Member& member, const std::string& path) {
    diagnostics_.add(member.position, (path.empty() ? "" : path + ": ") + "unknown key " + quote(member.key),
                     hint_for(node, member.key));
  }

  // The nearest key or section here; else where a key of just this name lives,
  // or of one like it: rather below than elsewhere.
  static std::string hint_for(const Node& node, std::string_view name) {
    std::vector<std::string_view> known;
    for (const Key* key : node.keys) known.push_back(key->name());
    for (const Node* child : node.children) known.push_back(child->section->name());
    const std::string_view near = nearest(name, known);
    if (!near.empty()) return "did you mean " + quote(near) + "?";
    const std::vector<const Node*> others = below_first(node);
    std::string hint = place_of(others, name);
    if (!hint.empty()) return hint;
    const std::string_view alike = name.size() < kMinAlike ? std::string_view() : nearest_key(others, name);
    if (alike.empty()) return {};
    for (const Node* other : others) {
      if (other->find_key(alike) != nullptr)
        return "did you mean " + quote(alike) + ", a key of " + place_name(*other) + "?";
    }
    return {};
  }

  // All nodes, those below this one before the others.
  static std::vector<const Node*> below_first(const Node& node) {
    std::vector<const Node*> nodes;
    for (const Node& other : all_nodes()) nodes.push_back(&other);
    const std::string below = node.section->path.empty() ? "" : std::string(node.section->path) + ".";
    std::stable_partition(nodes.begin(), nodes.end(),
                          [&](const Node* other) { return other->section->path.starts_with(below); });
    return nodes;
  }

  static std::string place_name(const Node& node) {
    return node.section->path.empty() ? "the top of the file" : node.section->heading();
  }

  static std::string place_of(const std::vector<const Node*>& nodes, std::string_view name) {
    for (const Node* node : nodes) {
      if (node->find_key(name) != nullptr) return quote(name) + " is a key of " + place_name(*node);
      if (const Node* child = node->find_child(name)) return "write it as " + child->section->heading();
    }
    return {};
  }

  static std::string_view nearest_key(const std::vector<const Node*>& nodes, std::string_view name) {
    std::vector<std::string_view> known;
    for (const Node* node : nodes) {
      for (const Key* key : node->keys) known.push_back(key->name());
    }
    return nearest(name, known);
  }

  void report_missing(const Node& node, const Value& table, const std::string& path) {
    for (const Key* key : node.keys) {
      const auto named = [&](const Value::Member& member) { return member.key == key->name(); };
      if (key->fallback != kRequired || std::any_of(table.members.begin(), table.members.end(), named))
        continue;
      diagnostics_.add(table.position,
                       path + ": missing key " + quote(key->name()) + ": " + std::string(key->help));
    }
  }

  const Completeness completeness_;
  Diagnostics& diagnostics_;
  Positions& positions_;
};

}  // namespace

void read_config(const Value& document, Completeness completeness, Config& config, Diagnostics& diagnostics,
                 Positions& positions) {
  Reader(completeness, diagnostics, positions).read_table(root_node(), Object{&config}, document, "");
}

}  // namespace sluice::conf
