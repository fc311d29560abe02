#include "conf/render.h"

#include "conf/schema.h"
#include "conf/units.h"

namespace sluice::conf {
namespace {

void render_keys(const Node& node, ConstObject object, std::string& out) {
  for (const Key* key : node.keys) {
    std::string text = key->access.write(object);
    if (text.empty()) continue;
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
