"""The studio: pages over the job runner. They call the package's public interface and know nothing of how a job is run."""
