// ai.lighttoken::CompressedEmbedding and CompressedHead for onnxruntime: the only file that knows its
// API.
//
// Inputs: ids int32 or int64 of any rank, or hidden states [.., width] of type `to`; then the packed
// tensors, all of them initializers. Output: rows [ids' shape, width], or logits [.., rows].
// Attributes: `parts`, the tensors' names in their order, with commas; `rows`, `width`; `block`, ids
// in one block of the row order, 0 for none; `covered`, the rows of each stage, with commas; `layout`,
// `rows`, or `planes`: column-major, codes and left factors transposed; `to`, the ONNX type of everything
// but ids, float or float16.

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <cstdlib>
#include <deque>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <unordered_map>
#include <vector>

#include "decoder.h"
#include "head.h"

#if defined(_WIN32)
#define LIGHTTOKEN_EXPORT __declspec(dllexport)
#else
#define LIGHTTOKEN_EXPORT __attribute__((visibility("default")))
#endif

namespace {

// The oldest onnxruntime that this library loads into, 1.20; newer headers build it all the same.
constexpr std::uint32_t kApiVersion = 20;
constexpr const char* kDomain = "ai.lighttoken";
constexpr int kTables = 4;  // of one model: each costs a session 23 kB; functions decode more
constexpr std::int64_t kFloat32 = 1, kFloat16 = 10;  // of onnx.TensorProto.DataType

// Runs `work` and turns what it throws into a status; nothing may be thrown into onnxruntime.
template <typename Work>
OrtStatusPtr guarded(const Work& work) noexcept {
  try {
    work();
    return nullptr;
  } catch (const Ort::Exception& error) {
    return Ort::GetApi().CreateStatus(error.GetOrtErrorCode(), error.what());
  } catch (const std::exception& error) {
    return Ort::GetApi().CreateStatus(ORT_INVALID_ARGUMENT, error.what());
  } catch (...) {
    return Ort::GetApi().CreateStatus(ORT_FAIL, "unknown error in ai.lighttoken");
  }
}

// A tensor's values. Wrappers of newer headers call what 1.20 lacks: Ort::ConstValue::GetTensorData.
template <typename T>
const T* data_of(const OrtValue* value) {
  void* data = nullptr;
  Ort::ThrowOnError(Ort::GetApi().GetTensorMutableData(const_cast<OrtValue*>(value), &data));
  return static_cast<const T*>(data);
}

// The packed tensors of a node, by name.
class Parts {
 public:
  explicit Parts(const Ort::ConstKernelInfo& info) {
    std::istringstream names(info.GetAttribute<std::string>("parts"));
    std::string name;
    for (std::size_t index = 1; std::getline(names, name, ','); ++index) {
      if (index >= info.GetInputCount()) {
        throw std::invalid_argument("part " + name + " has no input; export the model again");
      }
      int constant = 0;
      Ort::ConstValue value = info.GetTensorConstantInput(index, &constant);
      if (!constant) throw std::invalid_argument("part " + name + " is no initializer");
      values_.emplace(name, value);
    }
  }

  bool has(const std::string& name) const { return values_.count(name) > 0; }

  std::vector<std::int64_t> shape(const std::string& name) const {
    return at(name).GetTensorTypeAndShapeInfo().GetShape();
  }

  bool is(const std::string& name, ONNXTensorElementDataType type) const {
    return has(name) && at(name).GetTensorTypeAndShapeInfo().GetElementType() == type;
  }

  // The tensor's values; throws unless it has `type` and the shape that is wanted.
  template <typename T>
  const T* get(const std::string& name, ONNXTensorElementDataType type,
               const std::vector<std::int64_t>& wanted) const {
    if (!is(name, type) || shape(name) != wanted) {
      throw std::invalid_argument("part " + name + " is not there or of another type or shape");
    }
    return data_of<T>(at(name));
  }

 private:
  const Ort::ConstValue& at(const std::string& name) const {
    const auto found = values_.find(name);
    if (found == values_.end()) throw std::invalid_argument("part " + name + " is missing");
    return found->second;
  }

  std::unordered_map<std::string, Ort::ConstValue> values_;
};

constexpr auto kFloat = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr auto kInt8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8;
constexpr auto kUint8 = ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8;
constexpr auto kInt32 = ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32;
constexpr std::uint8_t kSignZero = 1, kCodebookZero = 64;

std::vector<std::int64_t> matrix(const Parts& parts, const std::string& name) {
  std::vector<std::int64_t> shape = parts.shape(name);
  if (shape.size() != 2) throw std::invalid_argument("part " + name + " is no matrix");
  return shape;
}

// `rows` may be fewer than a column of codes has: columns are padded to whole reads.
lighttoken::Stage read_stage(const Parts& parts, const std::string& prefix, std::int64_t width,
                             std::int64_t rows, bool column_major) {
  lighttoken::Stage stage;
  const auto codes = matrix(parts, prefix + "codes");
  if (rows > codes[column_major ? 1 : 0]) throw std::invalid_argument("part " + prefix + "codes is short");
  stage.rows = rows;
  stage.bytes = codes[column_major ? 0 : 1];
  stage.stride = codes[1];
  stage.codes = parts.get<std::uint8_t>(prefix + "codes", kUint8, codes);
  const bool own = parts.has(prefix + "codebook");
  const std::string book = own ? prefix + "codebook" : "signs";
  stage.k = matrix(parts, book)[1];
  stage.codebook = parts.get<std::uint8_t>(book, kUint8, {256, stage.k});
  stage.zero = own ? kCodebookZero : kSignZero;
  if (parts.has(prefix + "scale")) {
    stage.scale = parts.get<float>(prefix + "scale", kFloat, {width});
  }
  stage.latents = width;
  if (parts.has(prefix + "weight")) {
    stage.latents = matrix(parts, prefix + "weight")[0];
    if (parts.is(prefix + "weight", kInt8)) {
      stage.weight = parts.get<std::int8_t>(prefix + "weight", kInt8, {stage.latents, width});
    } else {
      stage.float_weight = parts.get<float>(prefix + "weight", kFloat, {stage.latents, width});
    }
  }
  return stage;
}

lighttoken::Table read_table(const Ort::ConstKernelInfo& info) {
  const Parts parts(info);
  const std::int64_t to = info.GetAttribute<std::int64_t>("to");
  if (to != kFloat32 && to != kFloat16) {
    throw std::invalid_argument("output of ONNX type " + std::to_string(to) +
                                ": float and float16 are known");
  }
  lighttoken::Table table;
  table.rows = info.GetAttribute<std::int64_t>("rows");
  table.width = info.GetAttribute<std::int64_t>("width");
  table.block = info.GetAttribute<std::int64_t>("block");
  table.column_major = info.GetAttribute<std::string>("layout") == "planes";
  const std::int64_t width = table.width;
  if (table.rows < 1 || width < 1) throw std::invalid_argument("a table without rows or columns");
  table.mean = parts.get<float>("mean", kFloat, {width});
  if (parts.has("tail")) table.tail = parts.get<float>("tail", kFloat, {width});
  if (table.block > 0) {
    const std::int64_t blocks = (table.rows - 1) / table.block + 1;
    table.shifts = parts.get<std::int32_t>("order.shifts", kInt32, {blocks});
  }
  if (parts.has("gain.codes")) {
    table.gain_rows = parts.shape("gain.codes").at(0);
    table.gain_codes = parts.get<std::uint8_t>("gain.codes", kUint8, {table.gain_rows});
    table.gain_levels = parts.get<float>("gain.levels", kFloat, {256});
  }
  if (parts.has("zeros")) {
    table.zeros = parts.get<std::uint8_t>("zeros", kUint8, {(table.rows + 7) / 8});
  }
  if (parts.has("lowrank.left")) {
    lighttoken::LowRank& factors = table.low_rank;
    factors.rank = matrix(parts, "lowrank.left")[table.column_major ? 0 : 1];
    std::vector<std::int64_t> left{table.rows, factors.rank}, right{factors.rank, width};
    if (table.column_major) std::swap(left[0], left[1]);
    if (parts.has("lowrank.scale")) {
      factors.left = parts.get<std::int8_t>("lowrank.left", kInt8, left);
      factors.right = parts.get<std::int8_t>("lowrank.right", kInt8, right);
      factors.scale = parts.get<float>("lowrank.scale", kFloat, {factors.rank});
    } else {
      factors.float_left = parts.get<float>("lowrank.left", kFloat, left);
      factors.float_right = parts.get<float>("lowrank.right", kFloat, right);
    }
  }
  std::istringstream covered(info.GetAttribute<std::string>("covered"));
  for (std::size_t s = 0; parts.has("stages." + std::to_string(s) + ".codes"); ++s) {
    const std::string prefix = "stages." + std::to_string(s) + ".";
    std::int64_t rows = 0;
    char comma = 0;
    if (!(covered >> rows)) throw std::invalid_argument(prefix + "codes has no rows");
    covered >> comma;
    table.stages.push_back(read_stage(parts, prefix, width, rows, table.column_major));
  }
  return table;
}

// onnxruntime's own threads; the calling thread alone where there is one task.
lighttoken::ForEach on_threads_of(const Ort::KernelContext& context) {
  return [&context](std::size_t count, const std::function<void(std::size_t)>& work) {
    if (count <= 1) {
      if (count) work(0);
      return;
    }
    std::vector<std::exception_ptr> errors(count);
    struct Shared {
      const std::function<void(std::size_t)>& work;
      std::vector<std::exception_ptr>& errors;
    } shared{work, errors};
    context.ParallelFor(
        [](void* data, std::size_t task) {
          auto& here = *static_cast<Shared*>(data);
          try {
            here.work(task);
          } catch (...) {
            here.errors[task] = std::current_exception();
          }
        },
        count, 0, &shared);
    for (const std::exception_ptr& error : errors) {
      if (error) std::rethrow_exception(error);
    }
  };
}

std::string wanted_kernel() {
  const char* name = std::getenv("LIGHTTOKEN_KERNEL");
  return name ? name : "";
}

class Embedding {
 public:
  explicit Embedding(const Ort::ConstKernelInfo& info)
      : decoder_(read_table(info), wanted_kernel()),
        half_(info.GetAttribute<std::int64_t>("to") == kFloat16) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return guarded([&] {
      Ort::KernelContext context(raw);
      const Ort::ConstValue ids = context.GetInput(0);
      const Ort::TensorTypeAndShapeInfo info = ids.GetTensorTypeAndShapeInfo();
      std::vector<std::int64_t> shape = info.GetShape();
      shape.push_back(decoder_.width());
      Ort::UnownedValue rows = context.GetOutput(0, shape);
      const std::size_t count = info.GetElementCount();
      switch (info.GetElementType()) {
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64:
          return write(context, data_of<std::int64_t>(ids), count, rows);
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32:
          return write(context, data_of<std::int32_t>(ids), count, rows);
        default:
          throw std::invalid_argument("token ids must be int32 or int64");
      }
    });
  }

 private:
  template <typename Id>
  void write(const Ort::KernelContext& context, const Id* ids, std::size_t count,
             Ort::UnownedValue& rows) const {
    const lighttoken::ForEach for_each = on_threads_of(context);
    if (half_) {
      auto* out = rows.GetTensorMutableData<Ort::Float16_t>();
      decoder_.decode(ids, count, reinterpret_cast<std::uint16_t*>(out), for_each);
    } else {
      decoder_.decode(ids, count, rows.GetTensorMutableData<float>(), for_each);
    }
  }

  lighttoken::Decoder decoder_;
  bool half_;
};

class OutputHead {
 public:
  explicit OutputHead(const Ort::ConstKernelInfo& info) : head_(read_table(info), wanted_kernel()) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return guarded([&] {
      Ort::KernelContext context(raw);
      const Ort::ConstValue hidden = context.GetInput(0);
      const Ort::TensorTypeAndShapeInfo info = hidden.GetTensorTypeAndShapeInfo();
      std::vector<std::int64_t> shape = info.GetShape();
      if (shape.empty() || shape.back() != head_.width()) {
        throw std::invalid_argument("hidden states must have " + std::to_string(head_.width()) +
                                    " columns");
      }
      const std::size_t count = info.GetElementCount() / static_cast<std::size_t>(head_.width());
      shape.back() = head_.rows();
      Ort::UnownedValue logits = context.GetOutput(0, shape);
      const lighttoken::ForEach for_each = on_threads_of(context);
      switch (info.GetElementType()) {
        case kFloat:
          return head_.project(data_of<float>(hidden), count, logits.GetTensorMutableData<float>(),
                               for_each);
        case ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16: {
          auto* out = logits.GetTensorMutableData<Ort::Float16_t>();
          return head_.project(data_of<std::uint16_t>(hidden), count,
                               reinterpret_cast<std::uint16_t*>(out), for_each);
        }
        default:
          throw std::invalid_argument("hidden states must be float or float16");
      }
    });
  }

 private:
  lighttoken::Head head_;
};

// What both operators are to onnxruntime: a first input, then the parts, and one output.
template <typename Op, typename Layer>
struct LayerOp : Ort::CustomOpBase<Op, Layer, /*WithStatus=*/true> {
  // `table` counts the packed tables of a model. Each has a function of its own there, and thereby a
  // name: CompressedEmbedding, CompressedEmbedding2.
  LayerOp(const char* name, int table)
      : name_(table > 1 ? name + std::to_string(table) : std::string(name)) {
    this->version = kApiVersion;
    this->InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* raw) -> OrtStatusPtr {
      return guarded([&] {
        Ort::ShapeInferContext context(&Ort::GetApi(), raw);
        Ort::ShapeInferContext::Shape shape = context.GetInputShape(0);
        for (const auto& dimension : shape) {
          // Unknown and nameless: the wrapper has no way to pass that on, and -1 would be a size.
          if (dimension.IsInt() && dimension.AsInt() < 0) return;
        }
        Op::infer_shape(context, shape);
        const bool half = context.GetAttrInt("to") == kFloat16;
        Ort::ThrowOnError(context.SetOutputShape(
            0, shape, half ? ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16 : kFloat));
      });
    };
  }

  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* raw, void** kernel) const {
    return guarded(
        [&] { *kernel = std::make_unique<Layer>(Ort::ConstKernelInfo(raw)).release(); });
  }

  const char* GetName() const { return name_.c_str(); }

  // One variadic input of mixed types.
  std::size_t GetInputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(std::size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t) const {
    return INPUT_OUTPUT_VARIADIC;
  }
  bool GetVariadicInputHomogeneity() const { return false; }
  int GetVariadicInputMinArity() const { return 2; }

  // Float or half precision, as `to` says.
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }

 private:
  std::string name_;
};

struct EmbeddingOp : LayerOp<EmbeddingOp, Embedding> {
  explicit EmbeddingOp(int table) : LayerOp("CompressedEmbedding", table) {}

  static void infer_shape(Ort::ShapeInferContext& context, Ort::ShapeInferContext::Shape& shape) {
    shape.emplace_back(context.GetAttrInt("width"));
  }
};

struct HeadOp : LayerOp<HeadOp, OutputHead> {
  explicit HeadOp(int table) : LayerOp("CompressedHead", table) {}

  static void infer_shape(Ort::ShapeInferContext& context, Ort::ShapeInferContext::Shape& shape) {
    if (shape.empty()) throw std::invalid_argument("hidden states need a dimension");
    shape.back() = {context.GetAttrInt("rows")};
  }
};

}  // namespace

extern "C" LIGHTTOKEN_EXPORT OrtStatus* ORT_API_CALL RegisterCustomOps(OrtSessionOptions* options,
                                                                       const OrtApiBase* base) {
  const OrtApi* api = base->GetApi(kApiVersion);
  if (!api) return nullptr;  // an older onnxruntime: the function body runs
  Ort::InitApi(api);
  return guarded([&] {
    static std::deque<EmbeddingOp> embeddings;  // never moves what it holds
    static std::deque<HeadOp> heads;
    static const Ort::CustomOpDomain domain = [] {
      Ort::CustomOpDomain made(kDomain);
      for (int table = 1; table <= kTables; ++table) {
        made.Add(&embeddings.emplace_back(table));
        made.Add(&heads.emplace_back(table));
      }
      return made;
    }();
    Ort::ThrowOnError(Ort::GetApi().AddCustomOpDomain(options, domain));
  });
}
