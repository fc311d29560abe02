# Writes OUTPUT, a source file that defines dashboard_files() (admin/dashboard.h).
# FILES: "PATH|TYPE|FILE" for each, with commas between.
string(REPLACE "," ";" FILES "${FILES}")
set(arrays "")
set(rows "")
set(number 0)
foreach(entry ${FILES})
  string(REPLACE "|" ";" parts "${entry}")
  list(GET parts 0 path)
  list(GET parts 1 type)
  list(GET parts 2 file)
  file(READ "${file}" hex HEX)
  string(REGEX REPLACE "(..)" "'\\\\x\\1'," bytes "${hex}")
  string(APPEND arrays "constexpr char kFile${number}[] = {${bytes}};\n")
  string(APPEND rows "    {\"${path}\", \"${type}; charset=utf-8\", {kFile${number}, sizeof(kFile${number})}},\n")
  math(EXPR number "${number} + 1")
endforeach()
file(WRITE "${OUTPUT}.new" "#include \"admin/dashboard.h\"

namespace sluice::admin {
namespace {

${arrays}
constexpr DashboardFile kFiles[] = {
${rows}};

}  // namespace

std::span<const DashboardFile> dashboard_files() {
  return kFiles;
}

}  // namespace sluice::admin
")
file(RENAME "${OUTPUT}.new" "${OUTPUT}")
