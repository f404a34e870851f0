// ai.lighttoken::CompressedEmbedding and CompressedHead for onnxruntime, and all that the library
// registers. Beside ort.h and product_op.h no file knows its API.
//
// Inputs: ids int32 or int64 of any rank, or hidden states [.., width] of type `to`; then the packed
// tensors, all of them initializers. Output: rows [ids' shape, width], or logits [.., rows].
// Attributes: `parts`, the tensors' names in their order, with commas; `rows`, `width`; `block`, ids
// in one block of the row order, 0 for none; `covered`, the rows of each stage, with commas; `layout`,
// `rows`, or `planes`: column-major, codes and left factors transposed; `to`, the ONNX type of everything
// but ids, float or float16.

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
#include "ort.h"
#include "product_op.h"
#include "reader.h"

#if defined(_WIN32)
#define LIGHTTOKEN_EXPORT __declspec(dllexport)
#else
#define LIGHTTOKEN_EXPORT __attribute__((visibility("default")))
#endif

namespace {

constexpr const char* kDomain = "ai.lighttoken";
constexpr const char* kWeightsDomain = "ai.lighttoken.weights";
constexpr int kTables = 4;  // of one model: each costs a session 23 kB; functions decode more

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
    Stored stored = stored_input(info, index, "part " + name);
    lighttoken::Tensor part{type_of(stored.type), std::move(stored.shape), nullptr};
    if (part.type != lighttoken::Type::kOther) part.data = stored.data;
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
    static const ProductOp product;
    static const Ort::CustomOpDomain weights = [] {
      Ort::CustomOpDomain made(kWeightsDomain);
      made.Add(&product);
      return made;
    }();
    Ort::ThrowOnError(Ort::GetApi().AddCustomOpDomain(options, weights));
  });
}
