// Codecs: between the octets of a connection and the messages of its exchanges.
//
// A codec is asked for one event at a time (next), so that whoever drives it
// decides between two events and no decision is taken inside a parser. Octets
// it cannot use yet stay in the input. HTTP/1 has one exchange at a time and
// calls it stream 0; a protocol with many gives each its number, and returns
// flow-control credit when consumed() says that octets were passed on.
//
// What a codec writes goes to an Outbox; heads it is given are protocol-neutral
// (proxy/head.h), with the fields that this hop adds beside them.
//
// Thread: the loop's. Owner: the connection.
#pragma once

#include <cstdint>
#include <string_view>

#include "conf/config.h"
#include "proxy/h1_fields.h"
#include "proxy/head.h"
#include "proxy/outbox.h"

namespace sluice::proxy {

using StreamId = uint32_t;

struct CodecEvent {
  enum class Kind : uint8_t {
    more,  // needs more octets, or must wait for its exchange
    head,  // request() or response() is there
    data,  // piece() is a slice of the body
    end,   // the message is complete; trailers() may hold fields
    bad,   // problem(); the connection is of no more use
  };
  Kind kind = Kind::more;
  StreamId stream = 0;
};

// Fields that the proxy adds to a head, in order.
struct AddedFields {
  static constexpr size_t kMost = 12;
  struct One {
    std::string_view name;
    std::string_view value;
  };
  One all[kMost];
  size_t count = 0;

  void add(std::string_view name, std::string_view value) {
    if (count < kMost) all[count++] = {name, value};
  }
};

// The server's side: reads requests, writes responses.
class DownstreamCodec {
 public:
  virtual ~DownstreamCodec() = default;

  virtual CodecEvent next(Input& input, const conf::Limits& limits) = 0;
  virtual RequestHead& request() = 0;
  virtual Input piece() const = 0;
  virtual Fields* trailers() = 0;
  virtual const Problem& problem() const = 0;
  // Has any octet of a message arrived whose end has not?
  virtual bool mid_message() const = 0;
  virtual void consumed(StreamId stream, size_t octets) = 0;

  // After the exchange has ended; the next may begin. False when its request
  // was not read to the end, so that none can.
  virtual bool finish_exchange(StreamId stream) = 0;
  // May the connection serve another request after this one?
  virtual bool keeps_alive() const = 0;
  virtual bool speaks_interim() const = 0;  // may 1xx be sent?

  // `last`: the connection ends after this response.
  virtual void write_response(Outbox& out, StreamId stream, const ResponseHead& head,
                              const AddedFields& added, bool last) = 0;
  virtual void write_data(Outbox& out, StreamId stream, const char* data, size_t size) = 0;
  virtual void write_end(Outbox& out, StreamId stream, const Fields* trailers) = 0;
  // A whole response of the proxy's own.
  virtual void write_reply(Outbox& out, StreamId stream, uint16_t status, const AddedFields& added,
                           std::string_view content_type, std::string_view body, bool head_only,
                           bool last) = 0;
  // Does a body without a length end with the connection?
  virtual bool ends_by_close(const ResponseHead& head) const = 0;
  virtual void become_tunnel(StreamId stream) = 0;
};

// The client's side: writes requests, reads responses.
class UpstreamCodec {
 public:
  virtual ~UpstreamCodec() = default;

  virtual bool can_open_stream() const = 0;
  virtual void write_request(Outbox& out, StreamId stream, const RequestHead& head, const AddedFields& added,
                             std::string_view authority_if_none) = 0;
  virtual void write_data(Outbox& out, StreamId stream, const char* data, size_t size) = 0;
  virtual void write_end(Outbox& out, StreamId stream, const Fields* trailers) = 0;

  virtual CodecEvent next(Input& input) = 0;
  // The peer has ended: what that means for the message under way (`end`,
  // `bad`, or `more` when none was).
  virtual CodecEvent next_at_end() = 0;
  virtual ResponseHead& response() = 0;
  virtual Input piece() const = 0;
  virtual Fields* trailers() = 0;
  virtual const Problem& problem() const = 0;
  virtual void consumed(StreamId stream, size_t octets) = 0;
  // After `end`: may the connection carry another request?
  virtual bool reusable() const = 0;
  // Did the head of the response say that the peer closes behind it?
  virtual bool peer_closes() const = 0;
  // It may not, whatever its messages said.
  virtual void retire() = 0;
  virtual void become_tunnel(StreamId stream) = 0;
};

}  // namespace sluice::proxy
