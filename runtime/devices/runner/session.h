// Opens the model of a job, with the onnxruntime that was loaded at run time.
#pragma once

#include <dlfcn.h>

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <iterator>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>

#include "empty_model.h"
#include "job.h"

// An onnxruntime's shared library. Any version since 1.20 serves: its functions are asked for by
// the older of its own version and of that of the headers.
class Runtime {
 public:
  explicit Runtime(const std::string& path) : handle_(dlopen(path.c_str(), RTLD_NOW)) {
    if (handle_ == nullptr) throw std::runtime_error(std::string("no onnxruntime: ") + dlerror());
    const auto base = find<const OrtApiBase*()>("OrtGetApiBase");
    if (base == nullptr) throw std::runtime_error(path + " is no onnxruntime");
    version_ = base()->GetVersionString();
    minor_ = std::atoi(cut(version_, '.').second.c_str());
    const OrtApi* api = base()->GetApi(std::min(ORT_API_VERSION, minor_));
    if (api == nullptr) throw std::runtime_error("onnxruntime " + version_ + " does not serve");
    Ort::InitApi(api);
    env_.emplace(ORT_LOGGING_LEVEL_ERROR, "lighttoken");
  }

  std::string name() const { return "onnxruntime " + version_; }

  Ort::SessionOptions options(const Job& job) const {
    Ort::SessionOptions options;
    options.SetIntraOpNumThreads(static_cast<int>(job.threads));
    options.SetInterOpNumThreads(1);
    for (const auto& [name, size] : job.dimensions) {
      Ort::ThrowOnError(Ort::GetApi().AddFreeDimensionOverrideByName(options, name.c_str(), size));
    }
    const bool ort_format =
        job.model.size() > 4 && job.model.compare(job.model.size() - 4, 4, ".ort") == 0;
    if (ort_format && job.load == "path") {  // mapped, its weights used as they lie
      options.AddConfigEntry("session.use_memory_mapped_ort_model", "1");
      options.AddConfigEntry("session.use_ort_model_bytes_for_initializers", "1");
    }
    return options;
  }

  Ort::Session open(const Job& job) {
    Ort::SessionOptions options = this->options(job);
    if (!job.library.empty()) options.RegisterCustomOpsLibrary(job.library.c_str());
    add_provider(job, options);
    if (job.load == "path") return Ort::Session(*env_, job.model.c_str(), options);
    const std::string& model = read(job.model);
    if (!job.data.empty()) {
      std::vector<std::string> names(job.data);
      std::vector<char*> contents;
      std::vector<size_t> sizes;
      for (const std::string& name : job.data) {
        std::string& content = read(job.folder() + name);
        contents.push_back(content.data());
        sizes.push_back(content.size());
      }
      options.AddExternalInitializersFromFilesInMemory(names, contents, sizes);
    }
    return Ort::Session(*env_, model.data(), model.size(), options);
  }

  // What onnxruntime sets up once, whatever the model. On the CPU: the process that measures in
  // Python opens it there too.
  Ort::Session open_empty(const Job& job) {
    return Ort::Session(*env_, kEmptyModel, sizeof kEmptyModel, options(job));
  }

  // Bytes of the session's arena: all it took, and most in use. False before onnxruntime 1.23.
  bool arena(const Ort::Session& session, double& total, double& used) const {
#if ORT_API_VERSION >= 23
    if (minor_ < 23) return false;
    const auto where = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
    const Ort::Allocator allocator(session, where);
    OrtKeyValuePairs* told = nullptr;
    Ort::ThrowOnError(Ort::GetApi().AllocatorGetStats(allocator, &told));
    const char* const all = Ort::GetApi().GetKeyValue(told, "TotalAllocated");
    const char* const most = Ort::GetApi().GetKeyValue(told, "MaxInUse");
    const bool found = all != nullptr && most != nullptr;
    if (found) total = std::atof(all), used = std::atof(most);
    Ort::GetApi().ReleaseKeyValuePairs(told);
    return found;
#else
    (void)session, (void)total, (void)used;
    return false;
#endif
  }

 private:
  void add_provider(const Job& job, Ort::SessionOptions& options) const {
    if (job.provider.empty()) return;
    if (job.provider == "NNAPI") {  // older than the function that takes names
      const auto append = find<OrtStatus*(OrtSessionOptions*, uint32_t)>(
          "OrtSessionOptionsAppendExecutionProvider_Nnapi");
      if (append == nullptr) throw std::runtime_error("NNAPI is not in this " + name());
      uint32_t flags = 0;
      for (const auto& [key, value] : job.settings) {
        if (key != "flags") throw std::runtime_error("NNAPI has no setting " + key + "; use flags");
        flags = static_cast<uint32_t>(number(value));
      }
      Ort::ThrowOnError(append(options, flags));
      return;
    }
    const std::unordered_map<std::string, std::string> settings(job.settings.begin(),
                                                                job.settings.end());
    options.AppendExecutionProvider(job.provider, settings);
  }

  template <typename Function>
  Function* find(const char* name) const {
    return reinterpret_cast<Function*>(dlsym(handle_, name));
  }

  // Kept for as long as the program runs: onnxruntime keeps pointers alone.
  std::string& read(const std::string& path) {
    std::ifstream file(path, std::ios::binary | std::ios::ate);
    if (!file) throw std::runtime_error(path + " cannot be read");
    auto content = std::make_unique<std::string>(static_cast<size_t>(file.tellg()), '\0');
    file.seekg(0);
    file.read(content->data(), static_cast<std::streamsize>(content->size()));
    if (!file) throw std::runtime_error(path + " cannot be read");
    kept_.push_back(std::move(content));
    return *kept_.back();
  }

  void* handle_;
  int minor_ = 0;
  std::string version_;
  std::vector<std::unique_ptr<std::string>> kept_;
  std::optional<Ort::Env> env_;  // none until the API is there: its destructor calls it
};
