#include "conf/diff.h"

#include <map>
#include <utility>

namespace sluice::conf {
namespace {

constexpr const char* kPresent = "present";

using Objects = std::map<std::string, ConstObject>;

Objects objects_of(const Section& section, ConstObject parent) {
  Objects out;
  section.access.each(parent,
                      [&](const std::string& name, ConstObject object) { out.emplace(name, object); });
  return out;
}

std::string path_of(const Section& section, const std::string& parent, const std::string& name) {
  std::string path = (parent.empty() ? "" : parent + ".") + std::string(section.name());
  if (name.empty()) return path;
  return section.shape == Section::Shape::named ? path + "." + name : path + "[" + name + "]";
}

class Differ {
 public:
  void compare(const Node& node, ConstObject before, ConstObject after, const std::string& path) {
    for (const Key* key : node.keys) compare_key(*key, before, after, path);
    for (const Node* child : node.children) {
      const Objects olds = objects_of(*child->section, before);
      const Objects news = objects_of(*child->section, after);
      for (const auto& [name, object] : olds) {
        const auto found = news.find(name);
        const std::string inner = path_of(*child->section, path, name);
        if (found != news.end()) {
          compare(*child, object, found->second, inner);
        } else {
          changes_.push_back({inner, kPresent, "", child->section->applies});
        }
      }
      for (const auto& [name, object] : news) {
        if (olds.contains(name)) continue;
        changes_.push_back({path_of(*child->section, path, name), "", kPresent, child->section->applies});
      }
    }
  }

  std::vector<Change> take() { return std::move(changes_); }

 private:
  void compare_key(const Key& key, ConstObject before, ConstObject after, const std::string& path) {
    std::string old_text = key.access.write(before);
    std::string new_text = key.access.write(after);
    if (old_text == new_text) return;
    if (key.secret) {
      if (!old_text.empty()) old_text = "(secret)";
      if (!new_text.empty()) new_text = old_text.empty() ? "(secret)" : "(another secret)";
    }
    changes_.push_back({(path.empty() ? "" : path + ".") + std::string(key.name()), std::move(old_text),
                        std::move(new_text), key.applies});
  }

  std::vector<Change> changes_;
};

}  // namespace

std::string Change::to_string() const {
  std::string out =
      path + ": " + (before.empty() ? "absent" : before) + " -> " + (after.empty() ? "absent" : after);
  if (applies == Applies::restart) out += " (needs a restart)";
  if (applies == Applies::first_start) out += " (counts at the first start only)";
  return out;
}

std::vector<Change> diff(const Config& before, const Config& after) {
  Differ differ;
  differ.compare(root_node(), ConstObject{&before}, ConstObject{&after}, "");
  return differ.take();
}

}  // namespace sluice::conf
