"""Every rendering run to its end: the fake of Argo, a real store, and the bytes that the inline engine makes."""
