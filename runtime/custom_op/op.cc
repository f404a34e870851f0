// ai.lighttoken::CompressedEmbedding and CompressedHead, and ai.lighttoken.weights::TrellisProduct for
// onnxruntime: the only file that knows its API.
//
// Inputs of the first two: ids int32 or int64 of any rank, or hidden states [.., width] of type `to`; then the packed
// tensors, all of them initializers. Output: rows [ids' shape, width], or logits [.., rows].
// Attributes: `parts`, the tensors' names in their order, with commas; `rows`, `width`; `block`, ids
// in one block of the row order, 0 for none; `covered`, the rows of each stage, with commas; `layout`,
// `rows`, or `planes`: column-major, codes and left factors transposed; `to`, the ONNX type of everything
// but ids, float or float16.
//
// Of a product: rows float [.., inputs], then what exporters/ops/integer_product.py names, all of it
// initializers. Output: float [.., outputs].

#define ORT_API_MANUAL_INIT
#include <onnxruntime_cxx_api.h>
#undef ORT_API_MANUAL_INIT

#include <cstdlib>
#include <deque>
#include <memory>
#include <sstream>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "decoder.h"
#include "head.h"
#include "reader.h"
#include "trellis.h"

#if defined(_WIN32)
#define LIGHTTOKEN_EXPORT __declspec(dllexport)
#else
#define LIGHTTOKEN_EXPORT __attribute__((visibility("default")))
#endif

namespace {

// The oldest onnxruntime that this library loads into, 1.20; newer headers build it all the same.
constexpr std::uint32_t kApiVersion = 20;
constexpr const char* kDomain = "ai.lighttoken";
constexpr const char* kWeightsDomain = "ai.lighttoken.weights";
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

constexpr auto kFloatTensor = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT;
constexpr auto kFloat16Tensor = ONNX_TENSOR_ELEMENT_DATA_TYPE_FLOAT16;

lighttoken::Type type_of(ONNXTensorElementDataType type) {
  switch (type) {
    case kFloatTensor: return lighttoken::Type::kFloat;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8: return lighttoken::Type::kInt8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8: return lighttoken::Type::kUint8;
    case ONNX_TENSOR_ELEMENT_DATA_TYPE_INT32: return lighttoken::Type::kInt32;
    default: return lighttoken::Type::kOther;
  }
}

// The node's parts are its inputs from the second on, in the order of the attribute `parts`.
void read_parts(const Ort::ConstKernelInfo& info, lighttoken::Node& node) {
  std::istringstream names(info.GetAttribute<std::string>("parts"));
  std::string name;
  std::size_t index = 1;
  for (; std::getline(names, name, ','); ++index) {
    if (index >= info.GetInputCount()) {
      throw std::invalid_argument("part " + name + " has no input; export the model again");
    }
    int constant = 0;
    const Ort::ConstValue value = info.GetTensorConstantInput(index, &constant);
    if (!constant || !value) throw std::invalid_argument("part " + name + " is no initializer");
    const Ort::TensorTypeAndShapeInfo tensor = value.GetTensorTypeAndShapeInfo();
    lighttoken::Tensor part{type_of(tensor.GetElementType()), tensor.GetShape(), nullptr};
    if (part.type != lighttoken::Type::kOther) part.data = data_of<void>(value);
    if (!node.parts.emplace(name, std::move(part)).second) {
      throw std::invalid_argument("part " + name + " is named twice");
    }
  }
  if (index != info.GetInputCount()) {
    throw std::invalid_argument("attribute parts names " + std::to_string(index - 1) +
                                " inputs of " + std::to_string(info.GetInputCount() - 1));
  }
}

lighttoken::Table table_of(const Ort::ConstKernelInfo& info) {
  lighttoken::Node node;
  node.rows = info.GetAttribute<std::int64_t>("rows");
  node.width = info.GetAttribute<std::int64_t>("width");
  node.block = info.GetAttribute<std::int64_t>("block");
  node.covered = info.GetAttribute<std::string>("covered");
  node.layout = info.GetAttribute<std::string>("layout");
  read_parts(info, node);
  return lighttoken::read_table(node);
}

// What `to` says, which is the output's type, and a head's input's. Tensors of another type have
// other sizes.
ONNXTensorElementDataType float_type(const Ort::ConstKernelInfo& info) {
  const std::int64_t to = info.GetAttribute<std::int64_t>("to");
  if (to != kFloat32 && to != kFloat16) {
    throw std::invalid_argument("output of ONNX type " + std::to_string(to) +
                                ": float and float16 are known");
  }
  return to == kFloat16 ? kFloat16Tensor : kFloatTensor;
}

void need_type(ONNXTensorElementDataType found, ONNXTensorElementDataType wanted,
               const std::string& what) {
  if (found == wanted) return;
  throw std::invalid_argument(what + " of ONNX type " + std::to_string(found) +
                              ", and attribute to says " + std::to_string(wanted));
}

// As the graph has them, when a session opens. Hidden states are of the output's type, ids of their own.
ONNXTensorElementDataType checked_type(const Ort::ConstKernelInfo& info, bool is_head) {
  const ONNXTensorElementDataType wanted = float_type(info);
  const auto need = [&](const Ort::TypeInfo& found, const std::string& what) {
    if (found.GetONNXType() != ONNX_TYPE_TENSOR) throw std::invalid_argument(what + " are no tensor");
    need_type(found.GetTensorTypeAndShapeInfo().GetElementType(), wanted, what);
  };
  need(info.GetOutputTypeInfo(0), is_head ? "logits" : "rows");
  if (is_head) need(info.GetInputTypeInfo(0), "hidden states");
  return wanted;
}

Ort::ConstValue first_input(const Ort::KernelContext& context, const char* what) {
  const Ort::ConstValue value = context.GetInput(0);
  if (!value || !value.IsTensor()) throw std::invalid_argument(std::string(what) + " are missing");
  return value;
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
      : type_(checked_type(info, false)), decoder_(table_of(info), wanted_kernel()) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return guarded([&] {
      Ort::KernelContext context(raw);
      const Ort::ConstValue ids = first_input(context, "token ids");
      const Ort::TensorTypeAndShapeInfo info = ids.GetTensorTypeAndShapeInfo();
      std::vector<std::int64_t> shape = info.GetShape();
      shape.push_back(decoder_.width());
      Ort::UnownedValue rows = context.GetOutput(0, shape);
      need_type(rows.GetTensorTypeAndShapeInfo().GetElementType(), type_, "rows");
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
    if (type_ == kFloat16Tensor) {
      auto* out = rows.GetTensorMutableData<Ort::Float16_t>();
      decoder_.decode(ids, count, reinterpret_cast<std::uint16_t*>(out), for_each);
    } else {
      decoder_.decode(ids, count, rows.GetTensorMutableData<float>(), for_each);
    }
  }

  ONNXTensorElementDataType type_;
  lighttoken::Decoder decoder_;
};

class OutputHead {
 public:
  explicit OutputHead(const Ort::ConstKernelInfo& info)
      : type_(checked_type(info, true)), head_(table_of(info), wanted_kernel()) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return guarded([&] {
      Ort::KernelContext context(raw);
      const Ort::ConstValue hidden = first_input(context, "hidden states");
      const Ort::TensorTypeAndShapeInfo info = hidden.GetTensorTypeAndShapeInfo();
      std::vector<std::int64_t> shape = info.GetShape();
      if (shape.empty() || shape.back() != head_.width()) {
        throw std::invalid_argument("hidden states must have " + std::to_string(head_.width()) +
                                    " columns");
      }
      need_type(info.GetElementType(), type_, "hidden states");
      const std::size_t count = info.GetElementCount() / static_cast<std::size_t>(head_.width());
      shape.back() = head_.rows();
      Ort::UnownedValue logits = context.GetOutput(0, shape);
      need_type(logits.GetTensorTypeAndShapeInfo().GetElementType(), type_, "logits");
      const lighttoken::ForEach for_each = on_threads_of(context);
      if (type_ == kFloat16Tensor) {
        auto* out = logits.GetTensorMutableData<Ort::Float16_t>();
        return head_.project(data_of<std::uint16_t>(hidden), count,
                             reinterpret_cast<std::uint16_t*>(out), for_each);
      }
      head_.project(data_of<float>(hidden), count, logits.GetTensorMutableData<float>(), for_each);
    });
  }

 private:
  ONNXTensorElementDataType type_;
  lighttoken::Head head_;
};

class Product {
 public:
  explicit Product(const Ort::ConstKernelInfo& info) : trellis_(tensors_of(info), wanted_kernel()) {}

  OrtStatusPtr ComputeV2(OrtKernelContext* raw) {
    return guarded([&] {
      Ort::KernelContext context(raw);
      const Ort::ConstValue rows = first_input(context, "rows");
      const Ort::TensorTypeAndShapeInfo info = rows.GetTensorTypeAndShapeInfo();
      need_type(info.GetElementType(), kFloatTensor, "rows");
      std::vector<std::int64_t> shape = info.GetShape();
      if (shape.empty() || shape.back() != trellis_.inputs()) {
        throw std::invalid_argument("rows must have " + std::to_string(trellis_.inputs()) +
                                    " columns");
      }
      const std::size_t count = info.GetElementCount() / static_cast<std::size_t>(shape.back());
      shape.back() = trellis_.outputs();
      Ort::UnownedValue out = context.GetOutput(0, shape);
      need_type(out.GetTensorTypeAndShapeInfo().GetElementType(), kFloatTensor, "outputs");
      trellis_.multiply(data_of<float>(rows), count, out.GetTensorMutableData<float>(),
                        on_threads_of(context));
    });
  }

 private:
  static lighttoken::TrellisTensors tensors_of(const Ort::ConstKernelInfo& info) {
    static const char* const names[] = {"rows",  "columns", "codes",    "factors", "unit",
                                        "steps", "current", "previous", "rotation"};
    constexpr std::size_t kInputs = sizeof names / sizeof *names;
    if (info.GetInputCount() != kInputs) {
      throw std::invalid_argument("a trellis product has " + std::to_string(kInputs) +
                                  " inputs, not " + std::to_string(info.GetInputCount()));
    }
    std::vector<std::vector<std::int64_t>> shapes(kInputs);
    std::vector<ONNXTensorElementDataType> types(kInputs, kFloatTensor);
    std::vector<const void*> data(kInputs, nullptr);
    for (std::size_t i = 1; i < kInputs; ++i) {
      int constant = 0;
      const Ort::ConstValue value = info.GetTensorConstantInput(i, &constant);
      if (!constant || !value) {
        throw std::invalid_argument(std::string(names[i]) + " of a trellis product is no initializer");
      }
      const Ort::TensorTypeAndShapeInfo tensor = value.GetTensorTypeAndShapeInfo();
      shapes[i] = tensor.GetShape();
      types[i] = tensor.GetElementType();
      data[i] = data_of<void>(value);
    }
    const auto need = [&](std::size_t i, ONNXTensorElementDataType type,
                          const std::vector<std::int64_t>& shape) {
      need_type(types[i], type, names[i]);
      if (shapes[i] == shape) return;
      throw std::invalid_argument(std::string(names[i]) +
                                  " of a trellis product has a shape that does not fit the others");
    };
    lighttoken::TrellisTensors found;
    if (shapes[2].size() != 2 || shapes[3].size() != 1 || shapes[6].size() != 2 ||
        shapes[8].size() != 2) {
      throw std::invalid_argument("tensors of a trellis product have other ranks than they need");
    }
    found.inputs = shapes[2][0];
    found.bytes = shapes[2][1];
    found.outputs = shapes[3][0];
    found.per_byte = shapes[6][1];
    found.block = shapes[8][0];
    need(1, kFloat16Tensor, {found.inputs});
    need(2, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {found.inputs, found.bytes});
    need(3, ONNX_TENSOR_ELEMENT_DATA_TYPE_UINT8, {found.outputs});
    need(4, kFloatTensor, {});
    need(5, types[5] == kFloat16Tensor ? kFloat16Tensor : kFloatTensor, {found.outputs});
    need(6, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, {256, found.per_byte});
    need(7, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, {256, found.per_byte});
    need(8, ONNX_TENSOR_ELEMENT_DATA_TYPE_INT8, {found.block, found.block});
    found.columns = static_cast<const std::uint16_t*>(data[1]);
    found.codes = static_cast<const std::uint8_t*>(data[2]);
    found.factors = static_cast<const std::uint8_t*>(data[3]);
    found.unit = *static_cast<const float*>(data[4]);
    if (types[5] == kFloat16Tensor) {
      found.half_steps = static_cast<const std::uint16_t*>(data[5]);
    } else {
      found.steps = static_cast<const float*>(data[5]);
    }
    found.current = static_cast<const std::int8_t*>(data[6]);
    found.previous = static_cast<const std::int8_t*>(data[7]);
    return found;
  }

  lighttoken::Trellis trellis_;
};

// What the operators of a table are to onnxruntime: a first input, then the parts, and one output.
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
            0, shape, half ? kFloat16Tensor : kFloatTensor));
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

// The same for a product: its result is of float, whatever its inputs are.
struct ProductOp : Ort::CustomOpBase<ProductOp, Product, /*WithStatus=*/true> {
  ProductOp() {
    this->version = kApiVersion;
    this->InferOutputShapeFn = [](const OrtCustomOp*, OrtShapeInferContext* raw) -> OrtStatusPtr {
      return guarded([&] {
        Ort::ShapeInferContext context(&Ort::GetApi(), raw);
        Ort::ShapeInferContext::Shape shape = context.GetInputShape(0);
        const Ort::ShapeInferContext::Shape outputs = context.GetInputShape(3);
        for (const auto& dimension : shape) {
          if (dimension.IsInt() && dimension.AsInt() < 0) return;  // as for a table's operators
        }
        if (shape.empty() || outputs.size() != 1) {
          throw std::invalid_argument("a trellis product needs rows, and a factor for each output");
        }
        shape.back() = outputs[0];
        Ort::ThrowOnError(context.SetOutputShape(0, shape, kFloatTensor));
      });
    };
  }

  OrtStatusPtr CreateKernelV2(const OrtApi&, const OrtKernelInfo* raw, void** kernel) const {
    return guarded(
        [&] { *kernel = std::make_unique<Product>(Ort::ConstKernelInfo(raw)).release(); });
  }

  const char* GetName() const { return "TrellisProduct"; }
  std::size_t GetInputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetInputType(std::size_t) const {
    return ONNX_TENSOR_ELEMENT_DATA_TYPE_UNDEFINED;
  }
  OrtCustomOpInputOutputCharacteristic GetInputCharacteristic(std::size_t) const {
    return INPUT_OUTPUT_VARIADIC;
  }
  bool GetVariadicInputHomogeneity() const { return false; }
  int GetVariadicInputMinArity() const { return 2; }
  std::size_t GetOutputTypeCount() const { return 1; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const { return kFloatTensor; }
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
    static const ProductOp product;
    static const Ort::CustomOpDomain weights = [] {
      Ort::CustomOpDomain made(kWeightsDomain);
      made.Add(&product);
      return made;
    }();
    Ort::ThrowOnError(Ort::GetApi().AddCustomOpDomain(options, weights));
  });
}
