#include "proxy/access_line.h"

#include <cstring>
#include <string_view>

namespace sluice::proxy {

namespace {

struct Line {
  char* at;

  template <size_t N>
  Line& raw(const char (&literal)[N]) {
    std::memcpy(at, literal, N - 1);
    at += N - 1;
    return *this;
  }
  Line& text(std::string_view value, size_t most = kMostLineTextBytes) {
    if (value.size() <= most) {
      at = write_json(at, value);
      return *this;
    }
    at = write_json(at, clip(value, most));
    return raw("\xe2\x80\xa6");
  }
  // The words between commas, in quotes; the caller has written the first quote
  // and writes the last.
  Line& words(std::string_view list) {
    for (size_t comma = 0; (comma = list.find(',')) != list.npos; list.remove_prefix(comma + 1)) {
      text(list.substr(0, comma)).raw(R"(",")");
    }
    return text(list);
  }
  Line& number(uint64_t value) {
    at = write_unsigned(at, value);
    return *this;
  }
  Line& seconds(uint64_t value_us) {
    at = write_seconds(at, value_us);
    return *this;
  }
  Line& boolean(bool value) { return value ? raw("true") : raw("false"); }
};

}  // namespace

char* write_access_line(char* to, const AccessRecord& record, uint64_t wall_us) {
  Line line{to};
  line.raw(R"({"time":")");
  line.at = write_time(line.at, wall_us);
  line.raw(R"(","request_id":")").text(record.request_id);
  if (const TraceContext* const trace = record.trace; trace != nullptr) {
    line.raw(R"(","trace_id":")");
    trace->write_trace_id(line.at);
    line.at += TraceContext::kTraceIdBytes;
    line.raw(R"(","trace_sampled":)").boolean(trace->sampled).raw(R"(,"client":")");
  } else {
    line.raw(R"(","client":")");
  }
  line.text(record.client);
  line.raw(R"(","method":")").text(record.method);
  line.raw(R"(","host":")").text(record.authority);
  line.raw(R"(","path":")").text(record.target, kMostLineTargetBytes);
  if (record.minor_version == 0) {
    line.raw(R"(","protocol":"HTTP/1.0","status":)");
  } else {
    line.raw(R"(","protocol":"HTTP/1.1","status":)");
  }
  line.number(record.status);
  line.raw(R"(,"service":")").text(record.service);
  line.raw(R"(","upstream":")").text(record.upstream);
  line.raw(R"(","endpoint":")").text(record.endpoint);
  if (record.attempts.empty()) {
    line.raw(R"(","attempts":[],"error":")");
  } else {
    line.raw(R"(","attempts":[")").words(record.attempts.substr(0, kMostLineTextBytes));
    line.raw(R"("],"error":")");
  }
  line.text(record.error);
  line.raw(R"(","error_detail":")").text(record.error_detail);
  line.raw(R"(","split_generation":)").number(record.generation);
  line.raw(R"(,"bytes_up":)").number(record.bytes_up);
  line.raw(R"(,"bytes_down":)").number(record.bytes_down);
  line.raw(R"(,"duration_s":)").seconds(record.duration_us);
  line.raw(R"(,"queue_s":)").seconds(record.queue_us);
  line.raw(R"(,"connect_s":)").seconds(record.connect_us);
  line.raw(R"(,"first_byte_s":)").seconds(record.first_byte_us);
  line.raw(R"(,"retried":)").boolean(record.retried);
  line.raw(R"(,"rescued":)").boolean(record.rescued);
  line.raw(R"(,"aborted":)").boolean(record.aborted);
  line.raw("}\n");
  return line.at;
}

}  // namespace sluice::proxy
