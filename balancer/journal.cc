#include "balancer/journal.h"

#include <algorithm>
#include <array>
#include <cassert>

#include "balancer/fields.h"

namespace sluice::balancer {
namespace {

constexpr std::string_view kVersionLine = "sluice-journal 1\n";
constexpr std::string_view kAnyVersion = "sluice-journal ";
constexpr size_t kHeadBytes = 4 + 4 + 8;
constexpr size_t kPayloadHeadBytes = 1 + 2;
constexpr char kPut = '+';
constexpr char kErase = '-';
// No key of an owner's: says that something may be missing.
constexpr std::string_view kUnsettledKey = "unsettled";
// The number of records that can lie between two that are read, however much
// of the file is damaged; rejects most garbage before its checksum is computed.
constexpr uint64_t kMaxSequenceGap = uint64_t{1} << 32;

constexpr std::array<uint32_t, 256> make_crc_table() {
  std::array<uint32_t, 256> table{};
  for (uint32_t octet = 0; octet < table.size(); ++octet) {
    uint32_t remainder = octet;
    for (int bit = 0; bit < 8; ++bit) {
      remainder = (remainder >> 1) ^ ((remainder & 1) != 0 ? 0x82f63b78U : 0);
    }
    table[octet] = remainder;
  }
  return table;
}
constexpr std::array<uint32_t, 256> kCrcTable = make_crc_table();

struct Record {
  uint64_t sequence;
  std::string_view payload;
};

uint32_t checksum_of(std::string_view length, std::string_view sequence_and_payload) {
  return crc32c(sequence_and_payload, crc32c(length));
}

std::optional<Record> decode(std::string_view bytes, uint64_t after_sequence) {
  if (bytes.size() < kHeadBytes) return std::nullopt;
  const size_t length = read_u32(bytes);
  if (length < kPayloadHeadBytes || length > bytes.size() - kHeadBytes) return std::nullopt;
  const uint64_t sequence = read_u64(bytes.substr(8));
  if (sequence <= after_sequence || sequence - after_sequence > kMaxSequenceGap) return std::nullopt;
  const uint32_t checksum = read_u32(bytes.substr(4));
  if (checksum != checksum_of(bytes.substr(0, 4), bytes.substr(8, 8 + length))) return std::nullopt;
  return Record{sequence, bytes.substr(kHeadBytes, length)};
}

// By its length and its sequence, whatever the checksum says. Old blocks that a
// crash uncovered have lower sequences.
bool looks_like_a_record(std::string_view bytes, uint64_t after_sequence) {
  if (bytes.size() < kHeadBytes) return false;
  const size_t length = read_u32(bytes);
  const uint64_t sequence = read_u64(bytes.substr(8));
  return length >= kPayloadHeadBytes && length <= bytes.size() - kHeadBytes && sequence > after_sequence &&
         sequence - after_sequence <= kMaxSequenceGap;
}

conf::Status write_and_sync(File& file, std::string_view bytes) {
  while (!bytes.empty()) {
    const conf::Result<size_t> written = file.write(bytes);
    if (!written) return written.error();
    bytes.remove_prefix(*written);
  }
  return file.sync();
}

}  // namespace

uint32_t crc32c(std::string_view bytes, uint32_t crc) {
  crc = ~crc;
  for (const char c : bytes) crc = kCrcTable[(crc ^ static_cast<unsigned char>(c)) & 0xff] ^ (crc >> 8);
  return ~crc;
}

conf::Result<std::unique_ptr<Journal>> Journal::open(FileSystem& files, std::string directory) {
  std::unique_ptr<Journal> journal(new Journal(files, std::move(directory)));
  conf::Status ready = journal->take_lock();
  if (!ready && ready.error().kind != conf::Error::Kind::io) return ready.error();
  auto content = files.read(journal->path("journal"));
  if (content && content->empty()) {
    // Made, and the power went before a first octet was on the disk.
    content = conf::Error{conf::Error::Kind::not_found, conf::Error::Source::system, false, ""};
  }
  if (content) {
    journal->load(*content);
    journal->recovery_.unsettled = journal->unsettled_;
    journal->unsettled_ = journal->recovery_.lost_any();
  } else if (content.error().kind != conf::Error::Kind::not_found) {
    return content.error();
  }
  if (ready) ready = journal->make_ready(content);
  if (!ready) {
    journal->recovery_.write_error = ready.error();
    journal->end_in_doubt_ = true;
    journal->failing_ = true;
    journal->unsettled_ = true;  // what was to be kept meanwhile was not
  }
  return journal;
}

conf::Status Journal::take_lock() {
  auto lock = files_.lock(path("journal.lock"));
  if (!lock) return lock.error();
  lock_ = std::move(lock.value());
  return conf::Done{};
}

conf::Status Journal::make_ready(const conf::Result<std::string>& content) {
  const bool whole =
      content && recovery_.torn_bytes == 0 && recovery_.damaged_bytes == 0 && !recovery_.other_version;
  if (!whole) {
    // For whoever looks into it; the repair does not depend on it.
    if (recovery_.damaged_bytes != 0) static_cast<void>(keep_copy("journal.damaged", *content));
    return rewrite(entries_);
  }
  auto file = files_.open_to_append(path("journal"));
  if (!file) return file.error();
  file_ = std::move(file.value());
  file_bytes_ = content->size();
  keep_room();
  return conf::Done{};
}

conf::Status Journal::keep_copy(const char* name, std::string_view content) {
  auto copy = files_.create(path(name));
  if (!copy) return copy.error();
  return write_and_sync(**copy, content);
}

// Behind a version line that is damaged there may be whole records; behind that
// of another release they may mean something else.
void Journal::load(const std::string& content) {
  const std::string_view octets = content;
  const bool begins_well = octets.starts_with(kVersionLine);
  if (!begins_well && octets.starts_with(kAnyVersion)) {
    recovery_.other_version = true;
    other_version_ = content;
    return;
  }
  size_t offset = begins_well ? kVersionLine.size() : 0;
  while (offset < octets.size()) {
    if (apply_record_at(octets, offset)) continue;
    const size_t bad = offset;
    do {
      ++offset;
    } while (offset < octets.size() && !decode(octets.substr(offset), sequence_));
    if (offset == octets.size() && bad > 0) {
      recovery_.torn_bytes = offset - bad;
      recovery_.torn_whole = looks_like_a_record(octets.substr(bad), sequence_);
      break;
    }
    if (recovery_.damaged_bytes == 0) recovery_.damaged_at = bad;
    recovery_.damaged_bytes += offset - bad;
  }
}

bool Journal::apply_record_at(std::string_view content, size_t& offset) {
  const std::optional<Record> record = decode(content.substr(offset), sequence_);
  if (!record) return false;
  const std::string_view payload = record->payload;
  const size_t key_size = static_cast<unsigned char>(payload[1]) |
                          static_cast<size_t>(static_cast<unsigned char>(payload[2])) << 8;
  if (payload.size() < kPayloadHeadBytes + key_size) return false;
  const std::string key(payload.substr(kPayloadHeadBytes, key_size));
  if (key == kUnsettledKey) {
    unsettled_ = payload[0] == kPut;
  } else if (payload[0] == kPut) {
    entries_[key] = std::string(payload.substr(kPayloadHeadBytes + key_size));
  } else {
    entries_.erase(key);
  }
  sequence_ = record->sequence;
  ++recovery_.records;
  offset += kHeadBytes + payload.size();
  return true;
}

std::string Journal::encode(char op, std::string_view key, std::string_view value) {
  std::string length;
  append_u32(length, static_cast<uint32_t>(kPayloadHeadBytes + key.size() + value.size()));
  std::string body;
  append_u64(body, ++sequence_);
  body.push_back(op);
  body.push_back(static_cast<char>(key.size() & 0xff));
  body.push_back(static_cast<char>(key.size() >> 8));
  body += key;
  body += value;
  std::string record = length;
  append_u32(record, checksum_of(length, body));
  return record + body;
}

conf::Status Journal::put(const std::string& key, std::string_view value) {
  assert(key.size() <= kMaxKeyBytes && value.size() <= kMaxValueBytes && key != kUnsettledKey);
  return change(kPut, key, value);
}

conf::Status Journal::erase(const std::string& key) {
  if (!entries_.contains(key) && !end_in_doubt_) return conf::Done{};
  return change(kErase, key, {});
}

conf::Status Journal::change(char op, const std::string& key, std::string_view value) {
  Entries changed = entries_;
  if (op == kPut) {
    changed[key] = std::string(value);
  } else {
    changed.erase(key);
  }
  conf::Status written = note_written(end_in_doubt_ ? rewrite(changed) : append(encode(op, key, value)));
  if (!written) return written;
  entries_ = std::move(changed);
  compact_if_worth_it();
  return conf::Done{};
}

conf::Status Journal::settle() {
  if (!unsettled_) return conf::Done{};
  unsettled_ = false;
  conf::Status written =
      note_written(end_in_doubt_ ? rewrite(entries_) : append(encode(kErase, kUnsettledKey, {})));
  unsettled_ = !written.ok();
  return written;
}

conf::Status Journal::note_written(conf::Status status) {
  failing_ = !status.ok();
  if (failing_) end_in_doubt_ = true;
  return status;
}

conf::Status Journal::append(std::string_view record) {
  conf::Status written = write_and_sync(*file_, record);
  if (!written) return written;
  file_bytes_ += record.size();
  keep_room();
  return conf::Done{};
}

void Journal::keep_room() {
  if (file_bytes_ + kReserveBytes / 2 <= reserved_to_bytes_) return;
  if (file_->reserve(kReserveBytes)) reserved_to_bytes_ = file_bytes_ + kReserveBytes;
}

conf::Status Journal::rewrite(const Entries& entries) {
  if (lock_ == nullptr) {
    if (conf::Status taken = take_lock(); !taken) return taken;
  }
  if (!other_version_.empty()) {
    if (conf::Status kept = keep_copy("journal.other-version", other_version_); !kept) return kept;
    if (conf::Status synced = files_.sync_directory(directory_); !synced) return synced;
    other_version_.clear();
  }
  const std::string fresh = path("journal.new");
  std::string content(kVersionLine);
  if (unsettled_) content += encode(kPut, kUnsettledKey, {});
  for (const auto& [key, value] : entries) content += encode(kPut, key, value);

  auto file = files_.create(fresh);
  if (!file) return file.error();
  if (conf::Status written = write_and_sync(**file, content); !written) {
    file.value().reset();
    static_cast<void>(files_.remove(fresh));  // gives its blocks back to a full disk
    return written;
  }
  // From here on it is unknown which of the two files a crash would leave; both
  // are whole, but only the new one would get what is appended.
  end_in_doubt_ = true;
  if (conf::Status renamed = files_.rename(fresh, path("journal")); !renamed) return renamed;
  if (conf::Status synced = files_.sync_directory(directory_); !synced) return synced;
  end_in_doubt_ = false;
  file_ = std::move(file.value());
  file_bytes_ = content.size();
  reserved_to_bytes_ = 0;
  keep_room();
  compact_at_bytes_ = std::max(kCompactBytes, 4 * file_bytes_);
  return conf::Done{};
}

void Journal::compact_if_worth_it() {
  if (file_bytes_ <= compact_at_bytes_) return;
  // What was asked to be kept is kept already; a failure only delays the saving.
  if (!rewrite(entries_)) compact_at_bytes_ = 2 * file_bytes_;
}

}  // namespace sluice::balancer
