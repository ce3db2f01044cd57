"""The HTTP gateway: TGI, OpenAI and Triton-style surfaces over one service."""
