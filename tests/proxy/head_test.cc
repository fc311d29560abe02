#include "proxy/head.h"

#include <catch2/catch.hpp>
#include <cctype>
#include <string>
#include <utility>

using namespace sluice::proxy;

namespace {

const std::pair<std::string, FieldId> kNames[] = {
    {"connection", FieldId::connection},
    {"content-length", FieldId::content_length},
    {"cookie", FieldId::cookie},
    {"date", FieldId::date},
    {"expect", FieldId::expect},
    {"forwarded", FieldId::forwarded},
    {"host", FieldId::host},
    {"http2-settings", FieldId::http2_settings},
    {"keep-alive", FieldId::keep_alive},
    {"max-forwards", FieldId::max_forwards},
    {"proxy-authenticate", FieldId::proxy_authenticate},
    {"proxy-authorization", FieldId::proxy_authorization},
    {"proxy-connection", FieldId::proxy_connection},
    {"te", FieldId::te},
    {"traceparent", FieldId::traceparent},
    {"tracestate", FieldId::tracestate},
    {"trailer", FieldId::trailer},
    {"transfer-encoding", FieldId::transfer_encoding},
    {"upgrade", FieldId::upgrade},
    {"via", FieldId::via},
    {"x-forwarded-for", FieldId::x_forwarded_for},
    {"x-forwarded-host", FieldId::x_forwarded_host},
    {"x-forwarded-proto", FieldId::x_forwarded_proto},
    {"x-request-id", FieldId::x_request_id},
};

}  // namespace

TEST_CASE("head: every known field name is known in every case") {
  for (const auto& [name, id] : kNames) {
    CAPTURE(name);
    std::string upper = name;
    std::string mixed = name;
    for (size_t i = 0; i < name.size(); ++i) {
      upper[i] = static_cast<char>(std::toupper(name[i]));
      if (i % 2 == 0) mixed[i] = upper[i];
    }
    CHECK(field_id(name) == id);
    CHECK(field_id(upper) == id);
    CHECK(field_id(mixed) == id);
    // One octet more, less or other is another name.
    CHECK(field_id(name + "x") == FieldId::other);
    CHECK(field_id(name.substr(1)) == FieldId::other);
    for (size_t i = 0; i < name.size(); ++i) {
      std::string other = name;
      other[i] = '~';
      CHECK(field_id(other) == FieldId::other);
    }
  }
  CHECK(field_id("") == FieldId::other);
  CHECK(field_id(std::string(100, 'a')) == FieldId::other);
}

TEST_CASE("head: only letters fold") {
  CHECK(equal_fold("aZ-9", "Az-9"));
  CHECK_FALSE(equal_fold("@", "`"));
  CHECK_FALSE(equal_fold("[", "{"));
  CHECK_FALSE(equal_fold("a", "ab"));
  CHECK_FALSE(equal_fold("\xc4", "\xe4"));
}

TEST_CASE("head: an owned head has no view of the memory it came from") {
  std::string block = "GET /path?q HTTP/1.1\r\nHost: a.b\r\n\r\n";
  const std::string literal = "elsewhere";
  RequestHead head;
  head.fields.set_block(block.data(), static_cast<uint32_t>(block.size()));
  head.method_text = std::string_view(block).substr(0, 3);
  head.target = std::string_view(block).substr(4, 7);
  head.authority = std::string_view(block).substr(28, 3);
  head.upgrade = literal;
  Field field;
  field.name_begin = 22;
  field.name_size = 4;
  field.value_begin = 28;
  field.value_size = 3;
  field.id = FieldId::host;
  head.fields.add(field);
  head.own();
  block.assign(block.size(), '!');
  CHECK(head.method_text == "GET");
  CHECK(head.target == "/path?q");
  CHECK(head.path() == "/path");
  CHECK(head.authority == "a.b");
  CHECK(head.upgrade == "elsewhere");
  REQUIRE(head.fields.find("HOST") != nullptr);
  CHECK(head.fields.value(*head.fields.find(FieldId::host)) == "a.b");
  head.fields.all()[0].dropped = true;
  CHECK(head.fields.find("host") == nullptr);
  CHECK(head.fields.find(FieldId::host) == nullptr);
}

TEST_CASE("head: which methods may be sent twice") {
  for (const Method method : {Method::get, Method::head, Method::options, Method::trace})
    CHECK(is_safe(method));
  for (const Method method : {Method::put, Method::delete_}) {
    CHECK_FALSE(is_safe(method));
    CHECK(is_idempotent(method));
  }
  for (const Method method : {Method::post, Method::patch, Method::connect, Method::other}) {
    CHECK_FALSE(is_idempotent(method));
  }
}
