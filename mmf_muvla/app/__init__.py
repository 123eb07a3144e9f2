"""A page in the browser to ask trained models: ``tools/app.py``. Only :mod:`~mmf_muvla.app.page` needs Gradio."""
