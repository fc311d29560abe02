#include "admin/http_connection.h"

#include <fmt/format.h>

#include <utility>

namespace sluice::admin {

using proxy::CodecEvent;
using proxy::Method;
using proxy::Stream;

namespace {

constexpr const char* kPlain = "text/plain; charset=utf-8";

constexpr conf::Limits limits() {
  conf::Limits small;
  small.header_bytes = 8 * 1024;
  small.headers = 64;
  small.uri_bytes = 1024;
  return small;
}
constexpr conf::Limits kLimits = limits();

}  // namespace

HttpConnection::HttpConnection(HttpServer& server, std::unique_ptr<proxy::UvStream> stream)
    : server_(server),
      stream_(std::move(stream)),
      codec_(server.workspace_),
      out_(server.control_.loop()),
      timer_(
          [](void* self) {
            // A client that is late gets no answer: it asked for nothing, or
            // does not read.
            static_cast<HttpConnection*>(self)->close();
          },
          this) {
  stream_->set_handler(this);
  out_.set_stream(stream_.get());
}

void HttpConnection::start() {
  stream_->start_reading();
  expect(kHeadMs);
}

void HttpConnection::on_read(char* data, size_t size) {
  if (lingering_) return;
  const bool from_stash = !stash_.empty();
  if (from_stash) stash_.append(data, size);
  proxy::Input input = from_stash ? stash_.view() : proxy::Input{data, size};
  pump(input);
  settle(from_stash, input);
}

void HttpConnection::pump(proxy::Input& input) {
  while (!last_ && stream_->pending() <= Stream::kHighWatermark) {
    const CodecEvent event = codec_.next(input, kLimits);
    switch (event.kind) {
      case CodecEvent::Kind::more:
        return;
      case CodecEvent::Kind::head:
        answer();
        break;
      case CodecEvent::Kind::data:
        break;
      case CodecEvent::Kind::end:
        if (!codec_.finish_exchange(event.stream)) last_ = true;
        break;
      case CodecEvent::Kind::bad: {
        const proxy::Problem problem = codec_.problem();
        last_ = true;
        reply({problem.status, kPlain, fmt::format("{} {}\n", problem.status, problem.detail)}, false);
        return;
      }
    }
  }
}

// Keeps what was not used, and decides what to wait for.
void HttpConnection::settle(bool from_stash, const proxy::Input& input) {
  out_.flush();
  if (from_stash) {
    stash_.keep_last(input.size);
  } else if (input.size > 0) {
    stash_.append(input.data, input.size);
  }
  const bool blocked = stream_->pending() > Stream::kHighWatermark;
  if (last_ || (read_ended_ && !blocked)) {
    end();
  } else if (blocked) {
    stream_->stop_reading();
    expect(kReplyMs);
  } else {
    stream_->start_reading();
    // The deadline of a head that has begun does not move.
    if (!codec_.mid_message() || !timer_.armed()) expect(kHeadMs);
  }
}

void HttpConnection::answer() {
  // As the codec holds it, so before anything else is read.
  const bool head_only = codec_.request().method == Method::head;
  bool last = !codec_.keeps_alive();
  const HttpPage what = page(last);
  last_ = last;
  reply(what, head_only);
}

HttpPage HttpConnection::page(bool& last) const {
  const proxy::RequestHead& request = server_.workspace_.request;
  if (request.body != proxy::BodyKind::none &&
      (request.body != proxy::BodyKind::length || request.content_length > 0)) {
    last = true;
    return {413, kPlain, "413 no request has a body here\n"};
  }
  if (!is_safe_host(request.authority)) {
    return {421, kPlain, "421 ask for localhost or an address: other names are refused, see DNS rebinding\n"};
  }
  if (request.method != Method::get && request.method != Method::head) {
    return {405, kPlain, "405 only GET and HEAD; changes are made on the admin socket\n"};
  }
  const proxy::Field* const accept = request.fields.find("accept");
  return page_for(server_.control_, request.path(),
                  accept == nullptr ? std::string_view{} : request.fields.value(*accept));
}

void HttpConnection::reply(const HttpPage& page, bool head_only) {
  proxy::AddedFields added;
  added.add("Cache-Control", "no-store");
  added.add("X-Content-Type-Options", "nosniff");
  added.add("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'");
  if (page.status == 405) added.add("Allow", "GET, HEAD");
  codec_.write_reply(out_, 0, page.status, added, page.content_type, page.body, head_only, last_);
  // What was written lies in scratch memory that further answers share.
  out_.flush();
}

void HttpConnection::on_read_end() {
  read_ended_ = true;
  if (lingering_) {
    close();
  } else if (stream_->pending() <= Stream::kHighWatermark) {
    end();
  }
}

void HttpConnection::on_stream_error(int) {
  close();
}

void HttpConnection::on_drained() {
  if (lingering_) {
    if (read_ended_) {
      close();
    } else {
      expect(kLingerMs);
    }
    return;
  }
  timer_.disarm();
  proxy::Input input = stash_.view();
  pump(input);
  settle(true, input);
}

// No further request. What the client still sends is read for a moment, since a
// close with unread input could destroy the answer on its way.
void HttpConnection::end() {
  if (closed_ || lingering_) return;
  lingering_ = true;
  stash_.clear();
  const bool all_out = stream_->pending() == 0;
  stream_->shutdown_write();
  if (all_out && read_ended_) {
    close();
    return;
  }
  if (!read_ended_) stream_->start_reading();
  expect(all_out ? kLingerMs : kReplyMs);
}

void HttpConnection::close() {
  if (closed_) return;
  closed_ = true;
  timer_.disarm();
  out_.set_stream(nullptr);
  stream_->close();
}

void HttpConnection::on_stream_closed() {
  // Ends this object.
  std::erase_if(server_.connections_, [this](const auto& one) { return one.get() == this; });
}

}  // namespace sluice::admin
