// AccessLog: a line for each finished request, written where no request waits.
//
//   worker 0: Writer --full--> ring \                      / file, by its path
//   worker 1: Writer --full--> ring --> the log's thread --> standard output
//              ^----empty----- ring /                      \ nothing (off)
//
// A worker formats into a buffer of its own and hands that on when it is full
// or kMostAgeUs old; the log's thread writes it with one write(2) and hands it
// back. A buffer is full at buffer_bytes(), and past that there is room to end any
// line that began before. All buffers together are full at kMostBytes, or at three
// of kLeastBufferBytes for each worker where that is more; with the room past that
// they may take 1.3 times as much.
// When a slow disk holds all of a worker's buffers, its lines are dropped and
// counted: a worker neither waits nor takes a lock nor, once it has its
// buffers, allocates.
//
// A failed write (no space, the reader gone) loses the rest of that buffer,
// which is counted; the next buffer is tried again, on a new line. It is never
// fatal; take_loss() tells of it once a minute.
//
// Threads: configure(), reopen(), take_loss() and close() are the control
// thread's; a Writer is its worker's; the rest is any thread's. Workers must
// have stopped when close() is called. Owner: the composition root.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <thread>
#include <vector>

#include "balancer/counters.h"
#include "balancer/random.h"
#include "conf/config.h"
#include "conf/result.h"
#include "proxy/access_line.h"
#include "proxy/handover_ring.h"
#include "proxy/report.h"

namespace sluice::proxy {

class AccessLog {
 public:
  static constexpr size_t kMostBytes = 8 * 1024 * 1024;
  static constexpr size_t kMostBufferBytes = 512 * 1024;
  static constexpr size_t kLeastBufferBytes = 128 * 1024;
  static constexpr uint64_t kMostAgeUs = 200'000;
  static constexpr uint64_t kReportUs = 60'000'000;
  static constexpr uint64_t kFlushMs = 2000;

  class Writer;

  // Large, so that the log's thread wakes seldom, but three for each worker have to
  // be had.
  static size_t buffer_bytes(uint32_t workers);

  // Off until configured; for 1 worker or more. The seed decides which requests a sample takes.
  AccessLog(uint32_t workers, uint64_t seed);
  AccessLog(const AccessLog&) = delete;
  AccessLog& operator=(const AccessLog&) = delete;
  ~AccessLog();

  // Takes `access` and `sample`; on an error everything stays as it was.
  conf::Status configure(const conf::Log& log);
  // Opens the path anew, after logrotate has moved the file away.
  conf::Status reopen();
  bool enabled() const;

  Writer& writer(uint32_t worker);

  struct Stats {
    uint64_t lines = 0;         // taken from workers
    uint64_t dropped = 0;       // not taken, for want of a buffer
    uint64_t written = 0;       // taken, and the write took them whole
    uint64_t lost = 0;          // taken, and the write failed
    uint64_t write_errors = 0;  // of write(2)
  };
  Stats stats() const;

  // What went wrong since it last said so, at most once in kReportUs; to be
  // called every second or so with the loop's time.
  struct Loss {
    uint64_t dropped = 0;
    uint64_t lost = 0;
    uint64_t write_errors = 0;
    std::string last_error;  // empty: slow, without an error
  };
  std::optional<Loss> take_loss(uint64_t now_us);

  // Writes what is left and ends the thread; idempotent. False when the disk
  // did not take it in time: the thread is then left to its write, owns all
  // that it touches, and ends with the process at the latest.
  bool close(uint64_t most_ms = kFlushMs);

 private:
  struct Core;

  const std::shared_ptr<Core> core_;  // shared with the thread
  std::thread thread_;
  std::string path_;  // empty: stdout or off
  Stats reported_;
  uint64_t next_report_us_ = 0;
};

// One worker's end of the log.
class AccessLog::Writer {
 public:
  Writer(Core& core, size_t most_buffers, size_t buffer_bytes, uint64_t seed);
  Writer(const Writer&) = delete;
  Writer& operator=(const Writer&) = delete;

  // Writes the request's line, if it failed or the sample takes it.
  void record(const AccessRecord& record, uint64_t wall_us);
  // Once a loop turn, with the loop's time: hands over what has waited long.
  void flush_aged(uint64_t now_us);

 private:
  friend class AccessLog;
  friend struct AccessLog::Core;
  struct Buffer {
    explicit Buffer(size_t full_at)
        : bytes(std::make_unique_for_overwrite<char[]>(full_at + kMostLineBytes)) {}
    size_t size = 0;
    size_t lines = 0;
    const std::unique_ptr<char[]> bytes;
  };

  bool take_buffer();
  void hand_over();

  Core& core_;
  const size_t buffer_bytes_;
  balancer::Random random_;
  std::vector<std::unique_ptr<Buffer>> buffers_;  // all, made when first needed
  std::vector<Buffer*> spare_;                    // used last on top
  Buffer* filling_ = nullptr;
  uint64_t waiting_since_us_ = 0;  // seen by flush_aged(); 0: nothing waits
  HandoverRing<Buffer> full_;      // to the log's thread
  HandoverRing<Buffer> empty_;     // and back
  balancer::Counter lines_;
  balancer::Counter dropped_;
};

}  // namespace sluice::proxy
