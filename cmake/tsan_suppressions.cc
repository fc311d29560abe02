// What ThreadSanitizer reports and is no race: libuv closes sockets, and the pipes
// of uv_spawn(), by a bare system call, which the sanitizer does not see, so whoever
// gets their numbers next seems to write to what they were; opendir() is not seen
// either, so closedir() is the first to be noticed. Linked into a binary that is built
// with it; see "Suppressions" of the sanitizer's manual.
extern "C" const char* __tsan_default_suppressions();  // NOLINT(bugprone-reserved-identifier)

const char* __tsan_default_suppressions() {  // NOLINT(bugprone-reserved-identifier)
  return "race:uv_pipe\nrace:uv_socketpair\nrace:closedir\n";
}
