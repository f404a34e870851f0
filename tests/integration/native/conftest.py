from tests.kernels import layer_models, library  # noqa: F401  # fixtures
