"""What feedrank's stages write, beside what stock TFX's parts say of the same rows."""
