#include "proxy/program_pages.h"

#include <elf.h>
#include <link.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <span>

namespace sluice::proxy {
namespace {

// Relocations in a read-only segment would be lost with its pages.
bool is_relocated(const dl_phdr_info& object) {
  const std::span<const ElfW(Phdr)> headers(object.dlpi_phdr, object.dlpi_phnum);
  const auto dynamic = std::ranges::find(headers, PT_DYNAMIC, &ElfW(Phdr)::p_type);
  if (dynamic == headers.end()) return false;
  // NOLINTNEXTLINE(performance-no-int-to-ptr): the loader tells addresses as numbers
  const auto* entry = reinterpret_cast<const ElfW(Dyn)*>(object.dlpi_addr + dynamic->p_vaddr);
  for (; entry->d_tag != DT_NULL; ++entry) {
    if (entry->d_tag == DT_TEXTREL) return true;
    if (entry->d_tag == DT_FLAGS && (entry->d_un.d_val & DF_TEXTREL) != 0) return true;
  }
  return false;
}

int give_back(dl_phdr_info* object, size_t, void* page_size) {
  if (is_relocated(*object)) return 0;
  const uintptr_t page = *static_cast<const uintptr_t*>(page_size);
  for (const auto& header : std::span(object->dlpi_phdr, object->dlpi_phnum)) {
    if (header.p_type != PT_LOAD || (header.p_flags & PF_W) != 0) continue;
    // Only whole pages: those at the edges may hold another segment's bytes.
    const uintptr_t start = object->dlpi_addr + header.p_vaddr;
    const uintptr_t begin = (start + page - 1) & ~(page - 1);
    const uintptr_t end = (start + header.p_filesz) & ~(page - 1);
    // NOLINTNEXTLINE(performance-no-int-to-ptr): as above
    if (begin < end) madvise(reinterpret_cast<void*>(begin), end - begin, MADV_DONTNEED);
  }
  return 0;
}

}  // namespace

void give_back_program_pages() {
  auto page_size = static_cast<uintptr_t>(sysconf(_SC_PAGESIZE));
  dl_iterate_phdr(give_back, &page_size);
}

}  // namespace sluice::proxy
