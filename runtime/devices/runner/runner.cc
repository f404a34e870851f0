// Measures a model where there is no Python: phones, boards.
//
//   runner LIBONNXRUNTIME.SO JOB     one line of JSON, the answer; or {"error": ...} and status 1
//   runner --drop FILE...            drops files from the system's cache, for a cold start

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <stdexcept>
#include <string>

#include "measures.h"

namespace {

Answer measure(const std::string& library, const std::string& file) {
  const Job job = read_job(file);
  Runtime runtime(library);
  Answer answer;
  answer.runtime = runtime.name();
  if (job.measure == "values") {
    measure_values(runtime, job, answer);
  } else if (job.measure == "time" || job.measure == "cold") {
    measure_time(runtime, job, answer, job.measure == "cold");
  } else if (job.measure == "memory") {
    measure_memory(runtime, job, answer);
  } else {
    throw std::runtime_error("measure '" + job.measure +
                             "' is not for devices; use values, time, cold or memory");
  }
  return answer;
}

void drop(const char* path) {
  const int file = open(path, O_RDONLY);
  if (file < 0) throw std::runtime_error(std::string(path) + " cannot be read");
  fsync(file);  // pages not yet on disk cannot be dropped
  const int failed = posix_fadvise(file, 0, 0, POSIX_FADV_DONTNEED);
  close(file);
  if (failed) throw std::runtime_error(std::string(path) + " cannot be dropped from the cache");
}

int fail(std::string why) {
  why = why.substr(0, why.find('\n'));
  why.erase(why.find_last_not_of(" .") + 1);
  std::printf("{\"error\": %s}\n", quoted(why).c_str());
  return 1;
}

}  // namespace

int main(int count, char** words) {
  try {
    if (count > 2 && std::string(words[1]) == "--drop") {
      for (int i = 2; i < count; ++i) drop(words[i]);
      return 0;
    }
    if (count != 3) return fail("give the onnxruntime library and a job file");
    std::printf("%s\n", measure(words[1], words[2]).json().c_str());
    std::fflush(stdout);
    return 0;
  } catch (const std::exception& error) {
    return fail(error.what());
  }
}
