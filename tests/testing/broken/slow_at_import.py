import time

from broken_channels import good as channel

time.sleep(0.35)

__all__ = ["channel"]
