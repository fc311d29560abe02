#include "admin/http_connection.h"

#include <fmt/format.h>

#include <utility>

#include "admin/live_stream.h"

namespace sluice::admin {

using proxy::CodecEvent;
using proxy::Method;
using proxy::Stream;

namespace {

constexpr const char* kPlain = "text/plain; charset=utf-8";

// What a browser may do with a page: run our scripts, use our style sheet, read
// our stream; nothing from elsewhere, nothing inline, in nobody's frame.
constexpr const char* kPolicy =
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; base-uri "
    "'none'; "
    "form-action 'none'; frame-ancestors 'none'";

// Does a page of another site ask, and not a person who follows a link?
bool is_from_another_site(const proxy::Fields& fields) {
  const proxy::Field* const site = fields.find("sec-fetch-site");
  if (site == nullptr) return false;
  const std::string_view from = fields.value(*site);
  if (from != "cross-site" && from != "same-site") return false;
  const proxy::Field* const mode = fields.find("sec-fetch-mode");
  return mode == nullptr || fields.value(*mode) != "navigate";
}

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
      timer_([](void* self) { static_cast<HttpConnection*>(self)->on_late(); }, this) {
  stream_->set_handler(this);
  out_.set_stream(stream_.get());
}

void HttpConnection::start() {
  expect(kHeadMs);
  wait();
}

void HttpConnection::wait() {
  state_ = State::waiting;
  stream_->start_reading();
}

void HttpConnection::line_up() {
  state_ = State::in_line;
  stream_->stop_reading();
  const proxy::Input next = stash_.view();
  server_.turns_->line_up(*this,
                          begins_probe({next.data, next.size}) ? Turns::Line::urgent : Turns::Line::common);
}

// A client that is late gets no answer: it asked for nothing, or does not read.
// In the line it may have asked in time: its turn will show.
void HttpConnection::on_late() {
  if (state_ != State::in_line) close();
}

void HttpConnection::on_read(char* data, size_t size) {
  if (state_ != State::waiting) return;
  stash_.append(data, size);
  line_up();
}

void HttpConnection::take_turn() {
  state_ = State::waiting;
  proxy::Input input = stash_.view();
  const bool answered = answer_next(input);
  if (state_ == State::waiting) {
    stash_.keep_last(input.size);
  } else {
    stash_.clear();  // a stream, which is the last answer
  }
  if (answered) {
    graced_ = false;
    proceed();
  } else if (timer_.armed()) {
    wait();
  } else if (!std::exchange(graced_, true)) {
    // The rest may have come while it was in the line and not read.
    expect(kGraceMs);
    wait();
  } else {
    close();
  }
}

// False when the next request is not all there.
bool HttpConnection::answer_next(proxy::Input& input) {
  for (;;) {
    const CodecEvent event = codec_.next(input, kLimits);
    switch (event.kind) {
      case CodecEvent::Kind::more:
        return false;
      case CodecEvent::Kind::head:
        answer();
        if (last_) return true;
        break;
      case CodecEvent::Kind::data:
        break;
      case CodecEvent::Kind::end:
        if (!codec_.finish_exchange(event.stream)) last_ = true;
        return true;
      case CodecEvent::Kind::bad: {
        const proxy::Problem problem = codec_.problem();
        last_ = true;
        // What it asked for is known all the same.
        reply({problem.status, kPlain, fmt::format("{} {}\n", problem.status, problem.detail), {}},
              codec_.request().method == Method::head);
        return true;
      }
    }
  }
}

// After an answer, and when the client has read it.
void HttpConnection::proceed() {
  if (state_ == State::streaming || state_ == State::closed) return;
  if (last_) {
    end();
  } else if (stream_->pending() > Stream::kHighWatermark) {
    state_ = State::unread;
    expect(kReplyMs);
  } else {
    expect(kHeadMs);
    if (stash_.empty()) {
      wait();
    } else {
      line_up();
    }
  }
}

void HttpConnection::answer() {
  // As the codec holds it, so before anything else is read.
  const bool head_only = codec_.request().method == Method::head;
  bool last = !codec_.keeps_alive();
  const HttpPage what = page(last);
  last_ = last;
  if (what.stream_of.empty() || head_only) {
    reply(what, head_only);
  } else {
    begin_stream(what.stream_of);
  }
}

// The end of the connection is the end of the stream, in either HTTP/1.
void HttpConnection::begin_stream(const std::string& service) {
  last_ = true;
  if (!server_.may_stream()) {
    reply({503,
           kPlain,
           fmt::format("503 {} streams are open, which is the most\n", HttpServer::kMostStreams),
           {}},
          false);
    return;
  }
  state_ = State::streaming;
  service_ = service;
  timer_.disarm();
  stream_->start_reading();  // to see the client leave
  push(
      "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nCache-Control: no-store\r\n"
      "X-Content-Type-Options: nosniff\r\nCross-Origin-Resource-Policy: same-origin\r\nConnection: "
      "close\r\n\r\n");
  push(history_message(server_.context_, service));
  push(state_message(server_.context_, service));
}

void HttpConnection::push(std::string_view text) {
  if (state_ == State::closed) return;
  const iovec slice{const_cast<char*>(text.data()), text.size()};
  stream_->write(&slice, 1);
  if (stream_->pending() > kMostPendingBytes) close();
}

HttpPage HttpConnection::page(bool& last) const {
  const proxy::RequestHead& request = server_.workspace_.request;
  if (request.body != proxy::BodyKind::none &&
      (request.body != proxy::BodyKind::length || request.content_length > 0)) {
    last = true;
    return {413, kPlain, "413 no request has a body here\n", {}};
  }
  if (!is_safe_host(request.authority, server_.control_.config().admin.http_hosts)) {
    return {421,
            kPlain,
            "421 ask for localhost, an address, or a name in [admin] http_hosts: others are refused, see DNS "
            "rebinding\n",
            {}};
  }
  if (is_from_another_site(request.fields)) {
    return {403, kPlain, "403 another site's page asks for this\n", {}};
  }
  if (request.method != Method::get && request.method != Method::head) {
    return {405, kPlain, "405 only GET and HEAD; changes are made on the admin socket\n", {}};
  }
  const proxy::Field* const accept = request.fields.find("accept");
  return page_for(server_.context_, request.target,
                  accept == nullptr ? std::string_view{} : request.fields.value(*accept));
}

void HttpConnection::reply(const HttpPage& page, bool head_only) {
  proxy::AddedFields added;
  added.add("Cache-Control", "no-store");
  added.add("X-Content-Type-Options", "nosniff");
  added.add("Content-Security-Policy", kPolicy);
  added.add("Cross-Origin-Resource-Policy", "same-origin");
  added.add("Referrer-Policy", "no-referrer");
  if (page.status == 405) added.add("Allow", "GET, HEAD");
  codec_.write_reply(out_, 0, page.status, added, page.content_type, page.body, head_only, last_);
  // What was written lies in scratch memory that further answers share.
  out_.flush();
}

void HttpConnection::on_read_end() {
  read_ended_ = true;
  if (state_ == State::waiting) {
    end();
  } else if (state_ == State::streaming || stream_->pending() == 0) {
    close();
  }
}

void HttpConnection::on_stream_error(int) {
  close();
}

void HttpConnection::on_drained() {
  if (state_ == State::unread) {
    proceed();
  } else if (state_ == State::lingering) {
    if (stream_->pending() > 0) return;  // not yet all
    if (read_ended_) {
      close();
    } else {
      expect(kLingerMs);
    }
  }
}

// No further request. What the client still sends is read for a moment, since a
// close with unread input could destroy the answer on its way.
void HttpConnection::end() {
  state_ = State::lingering;
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
  if (state_ == State::closed) return;
  if (state_ == State::in_line) server_.turns_->leave(*this);
  state_ = State::closed;
  timer_.disarm();
  out_.set_stream(nullptr);
  stream_->close();
}

void HttpConnection::on_stream_closed() {
  // Ends this object.
  std::erase_if(server_.connections_, [this](const auto& one) { return one.get() == this; });
}

}  // namespace sluice::admin
