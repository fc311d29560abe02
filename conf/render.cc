#include "conf/render.h"

#include "conf/schema.h"
#include "conf/units.h"

namespace sluice::conf {
namespace {

// A key that wants another says nothing without it while it has its default.
bool is_idle(const Node& node, ConstObject object, const Key& key, const std::string& text) {
  if (key.wants.empty() || text != key.fallback) return false;
  const Key* wanted = node.find_key(key.wants);
  return wanted != nullptr && wanted->access.write(object).empty();
}

void render_keys(const Node& node, ConstObject object, std::string& out) {
  for (const Key* key : node.keys) {
    std::string text = key->access.write(object);
    if (text.empty() || is_idle(node, object, *key, text)) continue;
    if (key->secret) text = kMaskedSecret;
    out.append(key->name()).append(" = ");
    out += key->access.type->quoted ? quote(text) : text;
    out += '\n';
  }
}

// `path` is the header's, as in "service.web.blue".
void render_node(const Node& node, ConstObject object, const std::string& path, std::string& out) {
  render_keys(node, object, out);
  for (const Node* child : node.children) {
    const Section& section = *child->section;
    section.access.each(object, [&](const std::string& name, ConstObject inner) {
      std::string inner_path = (path.empty() ? "" : path + ".") + std::string(section.name());
      if (section.shape == Section::Shape::named) inner_path += "." + name;
      const bool list = section.shape == Section::Shape::list || section.shape == Section::Shape::one_or_list;
      out += list ? "\n[[" + inner_path + "]]\n" : "\n[" + inner_path + "]\n";
      render_node(*child, inner, inner_path, out);
    });
  }
}

}  // namespace

std::string render(const Config& config) {
  std::string out;
  render_node(root_node(), ConstObject{&config}, "", out);
  return out;
}

}  // namespace sluice::conf
