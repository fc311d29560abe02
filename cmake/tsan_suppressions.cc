// What ThreadSanitizer reports and is no race: libuv closes the pipes of uv_spawn()
// by a bare system call, which the sanitizer does not see, so whoever gets their
// numbers next seems to write to what they were. Linked into a binary that is built
// with it; see "Suppressions" of the sanitizer's manual.
extern "C" const char* __tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)

const char* __tsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "race:uv_pipe\nrace:uv_socketpair\n";
}
