// Command: one row of the command table, and what passes between a session that
// asks and the function that answers.
//
// A function gets a Call and an Answer. It may finish the answer at once or
// keep it and finish it later, from any later callback of the control loop;
// finishing it twice, or after the client has left, does nothing. So no command
// ever has to know whether its client is still there, and none blocks the loop.
//
// Thread: the control thread's.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <variant>
#include <vector>

#include "admin/command_line.h"
#include "conf/result.h"
#include "proxy/control.h"

namespace sluice::admin {

class CommandTable;
class History;
class Waits;

// What the commands act on. Later parts of the process add themselves here.
struct Context {
  proxy::Control& control;
  const CommandTable& commands;
  Waits& waits;
  const History& history;
  std::string http_address;  // of the admin HTTP server; empty: there is none
};

struct Call {
  Context& context;
  proxy::Actor actor;
  Format format = Format::text;
  std::vector<std::string> arguments;  // the words behind the command's name

  proxy::Control& control() const { return context.control; }
  const std::string* argument(size_t index) const {
    return index < arguments.size() ? &arguments[index] : nullptr;
  }
};

// What a command says when it was done, in the one form that was asked for:
// lines of text, or the members of the JSON object that follow "ok". An empty
// text is answered as "done".
struct Output {
  std::string body;
};

// Why it was not. `usage` means that the command itself was malformed; the
// other codes are those of conf::Error::Kind.
struct Refusal {
  std::string code;
  std::string message;

  Refusal(std::string the_code, std::string the_message)
      : code(std::move(the_code)), message(std::move(the_message)) {}
  Refusal(const conf::Error& error)  // NOLINT(google-explicit-constructor)
      : code(conf::to_string(error.kind)), message(error.detail) {}
};

using Outcome = std::variant<Output, Refusal>;

// The whole reply to one command, without the empty line that ends it. Text
// never contains an empty line; a refusal begins with "error: CODE: ".
std::string render(const Outcome& outcome, Format format);

// Where the reply to one command goes. Shared by the session, which may let go
// of it at any time, and by the command while it runs.
class Answer {
 public:
  class Sink {
   public:
    virtual ~Sink() = default;
    virtual void reply(const Outcome& outcome) = 0;
    virtual void partial(const Output& output) = 0;
    virtual void to_interactive() = 0;
    virtual void quit() = 0;
  };

  explicit Answer(Sink& sink) : sink_(&sink) {}

  void finish(const Outcome& outcome);
  // Complete lines (text), or the members of one object, before the end.
  void stream(const Output& output);
  bool finished() const { return sink_ == nullptr; }
  // For the commands about the session itself; both end the command.
  void make_interactive();
  void quit();

  // Runs when the client has left before the end, so that a command that waits
  // can stop waiting; only those may have one. Not run after finish().
  void on_abandoned(std::function<void()> action) { abandoned_ = std::move(action); }
  void abandon();
  // Does it wait for something that may never be?
  bool waits() const { return abandoned_ != nullptr; }

 private:
  Sink* sink_;  // null: finished or abandoned
  std::function<void()> abandoned_;
};

using AnswerPtr = std::shared_ptr<Answer>;

struct Command {
  const char* name;  // one to three words
  // Syntax for people, and how many words may follow: "[…]" may be left out,
  // "…" at the end is any number of words.
  const char* arguments;
  const char* help;  // whole sentences
  bool changes;      // does it change state? Such commands are logged.
  void (*run)(const Call& call, AnswerPtr answer);
};

// Makes a row's function out of one that answers at once.
template <Outcome (*function)(const Call&)>
void at_once(const Call& call, AnswerPtr answer) {
  answer->finish(function(call));
}

// Finishes the answer when what was changed is on the disk; where the disk does
// not take it, the answer says so: the change is in force, but a restart would
// not know it.
void finish_once_durable(const Call& call, AnswerPtr answer, Outcome outcome);

// The same for one that changes what state_dir is to remember.
template <Outcome (*function)(const Call&)>
void once_durable(const Call& call, AnswerPtr answer) {
  finish_once_durable(call, std::move(answer), function(call));
}

}  // namespace sluice::admin
