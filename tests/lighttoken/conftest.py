from tests.kernels import library  # noqa: F401  # a fixture
