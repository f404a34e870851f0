// ai.lighttoken.weights::TrellisProduct for onnxruntime. For op.cc alone.
//
// Inputs: rows float [.., inputs], then what exporters/ops/integer_product.py names, all of it
// initializers. Output: float [.., outputs].

#pragma once

#include "ort.h"
#include "trellis.h"

namespace {

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

// A product's result is of float, whatever its inputs are.
struct ProductOp : LayerOp<ProductOp, Product> {
  ProductOp() : LayerOp("TrellisProduct", 1) {}

  static void infer_shape(Ort::ShapeInferContext& context, Ort::ShapeInferContext::Shape& shape) {
    const Ort::ShapeInferContext::Shape outputs = context.GetInputShape(3);
    if (shape.empty() || outputs.size() != 1) {
      throw std::invalid_argument("a trellis product needs rows, and a factor for each output");
    }
    shape.back() = outputs[0];
  }

  static ONNXTensorElementDataType output_type(Ort::ShapeInferContext&) { return kFloatTensor; }
  ONNXTensorElementDataType GetOutputType(std::size_t) const { return kFloatTensor; }
};

}  // namespace
