#include "admin/top.h"

// Its macros, move() for one, would break C++ headers.
#define NCURSES_NOMACROS
#include <curses.h>
#include <poll.h>
#include <unistd.h>

#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <string_view>

#include "admin/client.h"
#include "admin/screen.h"
#include "admin/top_link.h"
#include "admin/top_view.h"
#include "proxy/loop.h"

namespace sluice::admin {
namespace {

constexpr int kUsage = 2;
constexpr uint64_t kAskEveryUs = 1'000'000;

// The terminal, in curses's hands from construction to destruction.
class Terminal {
 public:
  Terminal() {
    std::setlocale(LC_ALL, "");
    initscr();
    cbreak();
    noecho();
    keypad(stdscr, TRUE);
    nodelay(stdscr, TRUE);
    curs_set(0);
    set_escdelay(25);
    if (has_colors() && wants_colours()) {
      start_color();
      use_default_colors();
      init_pair(kBlue, COLOR_BLUE, -1);
      init_pair(kGreen, COLOR_GREEN, -1);
      init_pair(kRed, COLOR_RED, -1);
      init_pair(kYellow, COLOR_YELLOW, -1);
    }
  }
  Terminal(const Terminal&) = delete;
  Terminal& operator=(const Terminal&) = delete;
  ~Terminal() { endwin(); }

  size_t width() const { return static_cast<size_t>(getmaxx(stdscr)); }
  size_t height() const { return static_cast<size_t>(getmaxy(stdscr)); }

  void show(const std::vector<TopLine>& lines) {
    erase();
    for (size_t row = 0; row < lines.size() && row < height(); ++row) {
      move(static_cast<int>(row), 0);
      for (const TopSpan& span : lines[row]) {
        attrset(static_cast<int>(attributes(span.style)));
        addstr(span.text.c_str());
      }
    }
    attrset(A_NORMAL);
    refresh();
  }

  // ERR: none is waiting.
  int key() { return getch(); }

 private:
  enum : short { kBlue = 1, kGreen, kRed, kYellow };

  static chtype attributes(TopStyle style) {
    switch (style) {
      case TopStyle::plain:
        return A_NORMAL;
      case TopStyle::dim:
        return A_DIM;
      case TopStyle::bold:
        return A_BOLD;
      case TopStyle::selected:
        return A_REVERSE;
      case TopStyle::blue:
        return COLOR_PAIR(kBlue) | A_BOLD;
      case TopStyle::green:
        return COLOR_PAIR(kGreen) | A_BOLD;
      case TopStyle::bad:
        return COLOR_PAIR(kRed) | A_BOLD;
      case TopStyle::warning:
        return COLOR_PAIR(kYellow) | A_BOLD;
    }
    return A_NORMAL;
  }
};

// Does what a key asks for; false: to end.
bool act(int key, const std::string& answer, TopChoice& choice) {
  switch (key) {
    case 'q':
    case 'Q':
      return false;
    case KEY_UP:
    case 'k':
      choice.service = next_service(answer, choice, -1);
      break;
    case KEY_DOWN:
    case 'j':
    case '\t':
      choice.service = next_service(answer, choice, 1);
      break;
    case 's':
      choice.sort = static_cast<TopSort>((static_cast<size_t>(choice.sort) + 1) % kTopSorts);
      break;
    case 'r':
      choice.reversed = !choice.reversed;
      break;
    case 'w':
      choice.window = (choice.window + 1) % std::size(kTopWindows);
      break;
    case ' ':
      choice.paused = !choice.paused;
      break;
    case '?':
    case 'h':
      choice.help = !choice.help;
      break;
    default:
      break;  // KEY_RESIZE too: the picture is drawn anew after every key
  }
  return true;
}

// Until a key, more of an answer, or the time of the next question. False: the
// terminal is gone.
bool wait_and_read(TopLink& link, uint64_t most_us) {
  pollfd waiting[2] = {{STDIN_FILENO, POLLIN, 0}, {link.descriptor(), POLLIN, 0}};
  const int count = poll(waiting, link.descriptor() >= 0 ? 2 : 1, static_cast<int>(most_us / 1000) + 1);
  if (count <= 0) return true;
  if (waiting[1].revents != 0) link.on_ready();
  return (waiting[0].revents & (POLLHUP | POLLERR | POLLNVAL)) == 0;
}

void run(TopLink& link) {
  Terminal terminal;
  TopChoice choice;
  std::string shown;  // stays while paused
  uint64_t ask_at_us = 0;
  while (true) {
    const uint64_t now_us = proxy::Loop::wall_clock_us();
    if (now_us >= ask_at_us || ask_at_us > now_us + kAskEveryUs) {
      link.ask();
      ask_at_us = now_us + kAskEveryUs;
    }
    if (!choice.paused) shown = link.answer();
    terminal.show(draw_top(shown, link.problem(), choice, terminal.width(), terminal.height()));
    if (!wait_and_read(link, ask_at_us - now_us)) return;
    for (int key = terminal.key(); key != ERR; key = terminal.key()) {
      if (!act(key, shown, choice)) return;
    }
  }
}

}  // namespace

int run_top(const std::string& socket) {
  const conf::Result<std::string> path = admin_socket_path(socket);
  if (!path.ok()) {
    std::fprintf(stderr, "sluice top: %s\n", path.error().detail.c_str());
    return kUsage;
  }
  const char* const term = std::getenv("TERM");
  const bool can_draw = term != nullptr && std::string_view(term) != "dumb";
  if (!can_draw || isatty(STDIN_FILENO) == 0 || isatty(STDOUT_FILENO) == 0) {
    std::fprintf(stderr, "sluice top: it needs a terminal; 'sluice ctl' answers without one\n");
    return kUsage;
  }
  TopLink link(*path);
  run(link);
  return 0;
}

}  // namespace sluice::admin
