#include "conf/schema.h"

#include <catch2/catch.hpp>
#include <functional>
#include <set>
#include <string>

#include "conf/units.h"
#include "tests/conf/fixtures.h"

using namespace sluice::conf;

namespace {

// Makes the object of each section once, in a configuration where nothing is
// set, and calls `visit` with it.
void visit_fresh_objects(const Node& node, Object object,
                         const std::function<void(const Node&, Object)>& visit) {
  visit(node, object);
  for (const Node* child : node.children) {
    visit_fresh_objects(*child, child->section->access.make(object, "x", {1, 1}), visit);
  }
}

}  // namespace

TEST_CASE("each key and each section is listed once") {
  std::set<std::string_view> paths;
  for (const Key& key : all_keys()) CHECK(paths.insert(key.path).second);
  for (const Node& node : all_nodes()) {
    INFO(node.section->path);
    CHECK(paths.insert(node.section->path).second);
    CHECK((!node.keys.empty()));
  }
}

TEST_CASE("the default that a key states is the one that its member has") {
  Config config;
  visit_fresh_objects(root_node(), Object{&config}, [](const Node& node, Object object) {
    for (const Key* key : node.keys) {
      INFO(key->path);
      const std::string text = key->access.write({object.at, object.index});
      if (key->fallback != kRequired) CHECK(text == key->fallback);
    }
  });
}

TEST_CASE("a range is stated by the keys whose type has one, and holds the default") {
  for (const Key& key : all_keys()) {
    INFO(key.path);
    const bool has_range = key.range.max > key.range.min;
    CHECK(has_range == (key.access.type->bound != nullptr));
    CHECK(to_string(key.range, *key.access.type).empty() == !has_range);
  }
}

TEST_CASE("help is a sentence that fits a cell of a table") {
  for (const Key& key : all_keys()) {
    INFO(key.path);
    CHECK(key.help.ends_with('.'));
    CHECK(key.help.find_first_of("|\n") == std::string_view::npos);
    CHECK(std::string_view(key.access.type->description).find_first_of("|\n") == std::string_view::npos);
  }
}

TEST_CASE("names and headings come from the paths") {
  CHECK(root_node().find_key("workers")->name() == "workers");
  const Node* service = root_node().find_child("service");
  REQUIRE(service != nullptr);
  CHECK(service->section->heading() == "[service.NAME]");
  CHECK(root_node().find_child("listener")->section->heading() == "[[listener]]");
  const Node* green = service->find_child("green");
  REQUIRE(green != nullptr);
  CHECK(green->find_key("endpoints") == service->find_child("blue")->find_key("endpoints"));
  CHECK(green->find_child("tls")->find_key("sni") != nullptr);
  CHECK(green->find_child("timeouts") == nullptr);
}

TEST_CASE("the full configuration of the fixtures sets every key") {
  const Config config = parse_valid(kFullConfig);
  std::set<std::string_view> defaults;
  const std::function<void(const Node&, ConstObject)> visit = [&](const Node& node, ConstObject object) {
    for (const Key* key : node.keys) {
      if (key->access.write(object) != key->fallback) defaults.insert(key->path);
    }
    for (const Node* child : node.children) {
      child->section->access.each(object,
                                  [&](const std::string&, ConstObject inner) { visit(*child, inner); });
    }
  };
  visit(root_node(), ConstObject{&config});
  for (const Key& key : all_keys()) {
    INFO(key.path);
    CHECK(defaults.contains(key.path));
  }
}
